"""Parsers whose errors are one line, with the nearest right name where one was misspelt."""

import re
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from inspect import signature
from itertools import zip_longest
from traceback import walk_tb
from typing import Any, NoReturn, get_args

from jsonargparse import ArgumentParser

from ard.cli.config_files import check_finite
from ard.cli.option_suggestions import suggestion
from ard.core.errors import UserError

# Lines of a parser's message about its search, not about the user's mistake.
SEARCH = re.compile(r"Does not validate|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value|Parser key|Problem with")

CHOICE = re.compile(r"Expected a typing\.Literal\[(.*?)\](?:\. Got value: (.*))?")
KIND = re.compile(r"Expected a <class '(\w+)'>(?:\. Got value: (.*))?")
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}


class OneLineErrors(ArgumentParser):
    """A parser that raises UserError with the innermost reason instead of printing its usage and exiting."""

    words: Collection[str] = ()  # what a misspelt key may have meant; by default every word a config may contain

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})  # a misspelt option may be the start of another

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise user_error(message, ex, self.words, self)


def parse(verb: str, function: Callable[..., Any], argv: list[str]) -> dict[str, Any]:
    """The arguments of a typed function from the command line; those without a default are positional.

    A dataclass among the parameters is replaced by its fields, each an option of its own.
    """
    parser = OneLineErrors(prog=f"ard {verb}", description=(function.__doc__ or "").split("\n")[0])
    parameters = signature(function).parameters.values()
    several = [p.name for p in parameters if p.default is p.empty and p.annotation == list[str]]
    grouped: dict[str, Any] = {p.name: p.annotation for p in parameters if is_dataclass(p.annotation)}
    options = {name: [field.name for field in fields(kind)] for name, kind in grouped.items()}
    parser.words = [p.name for p in parameters] + [name for names in options.values() for name in names]
    for name in several:
        parser.add_argument(name, nargs="+", metavar=name.upper())
    for kind in grouped.values():
        parser.add_class_arguments(kind, None)
    parser.add_function_arguments(function, as_positional=True, fail_untyped=True, skip={*several, *grouped})
    flags = {p.name for p in parameters if p.annotation is bool}
    flags |= {field.name for kind in grouped.values() for field in fields(kind) if field.type in (bool, bool | None)}
    arguments = parser.parse_args([_normalized_word(word, after, flags) for word, after in zip_longest(argv, argv[1:])])
    built = {name: kind(**{option: arguments[option] for option in options[name]}) for name, kind in grouped.items()}
    return {p.name: built[p.name] if p.name in built else arguments[p.name] for p in parameters}


def _normalized_word(word: str, after: str | None, flags: Collection[str]) -> str:
    """--save-adversarial -> --save_adversarial=true: options as people write them."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    name = "--" + name[2:].replace("-", "_")
    bare = name[2:] in flags and not equals and (after or "").lower() not in ("true", "false", "yes", "no", "null")
    return f"{name}=true" if bare else name + equals + value


def build(kind: Any, section: dict[str, Any]) -> Any:
    """An instance of `kind` from {class_path, init_args}, or a factory where `kind` is a Protocol."""
    parser = OneLineErrors()
    known = {field.name: field.type for field in fields(kind)} if is_dataclass(kind) else {}
    parser.words = list(known)
    parser.add_argument("--part", type=kind)
    for name, value in section.items():
        if value is None and name in known and type(None) not in get_args(known[name]):
            raise UserError(f"{name}: null; expected a value, or no such key")
    check_finite(section)
    try:
        return parser.instantiate(parser.parse_object({"part": section}))["part"]
    except Exception as error:
        raise unbuildable(error) from error


def unbuildable(error: BaseException) -> UserError:
    """The error of a constructor for values that it cannot use: its own UserError, else its name and the reason."""
    reason, origin = user_error(str(error), error), _chain(error)[-1]
    frames = [frame for frame, _ in walk_tb(origin.__traceback__) if frame.f_code.co_name == "__init__"]
    names = [type(frame.f_locals.get("self")).__name__ for frame in frames if frame.f_globals["__name__"].startswith("ard.")]
    if reason in _chain(error) or not names:
        return reason
    return UserError(f"{names[0]} cannot be built: {reason}")


def user_error(
    message: str,
    error: BaseException | None = None,
    words: Collection[str] = (),
    parser: ArgumentParser | None = None,
) -> UserError:
    """A UserError raised by one of our constructors, unchanged; else the innermost reason of the parser's message."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return cause
    lines = [line.strip(" -") for line in message.splitlines()]
    reasons = [line for line in lines if line and not SEARCH.match(line)] or lines[:1]
    reason = re.sub(r"\.? Got value: (Namespace|\{).*", "", reasons[-1])
    reason = re.sub(r"\w+ '\w+' does not accept option", "unknown key", reason).replace("part.", "")
    reason = CHOICE.sub(lambda choice: _choice(choice, message), reason)
    reason = KIND.sub(lambda kind: f"{kind[2] or _given(message)!r}: expected {KINDS.get(kind[1], kind[1])}", reason)
    keys = [key for key in re.findall(r'Parser key "([\w.]+)"', message) if key != "part"]
    return UserError((f"{'.'.join(keys)}: " if keys else "") + reason + suggestion(reason, words, parser))


def _choice(choice: re.Match[str], message: str) -> str:
    """Which values an option has, and which it was given."""
    return f"{choice[2] or _given(message)!r}: expected one of {choice[1].replace(chr(39), '')}"


def _given(message: str) -> str:
    return (re.findall(r"Given value: (.*)", message) or ["another value"])[0]


def _chain(error: BaseException | None) -> list[BaseException]:
    """An error, what caused it, what caused that; each once, since a parser may raise an error from itself."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain
