"""Building what {class_path, init_args} describes; errors are one line, with the nearest right name."""

import re
from collections.abc import Collection
from dataclasses import fields, is_dataclass
from inspect import isclass
from traceback import walk_tb
from typing import Any, NoReturn, get_args

from jsonargparse import ArgumentParser, Namespace
from jsonargparse._util import import_object, resolved_import_paths  # no public way asks the parser for either

from ard.configs.files import check_finite
from ard.configs.option_suggestions import suggestion
from ard.core.contract import CONTRACT, makes_networks
from ard.core.errors import UserError

# Lines of a parser's message about its search, not about the user's mistake.
SEARCH = re.compile(r"Does not validate|Subtypes:|Errors:|Expected a <class 'NoneType'>|Given value|Parser key|Problem with")

CHOICE = re.compile(r"Expected a typing\.Literal\[(.*?)\](?:\. Got value: (.*))?")
KIND = re.compile(r"Expected a <class '(?:[\w.]+\.)?(\w+)'>(?:\. Got value: (.*))?")
TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "Sequence": "a list",
    "tuple": "a list",
}


class OneLineErrors(ArgumentParser):
    """A parser that raises UserError with the innermost reason instead of printing its usage and exiting."""

    words: Collection[str] = ()  # what a misspelt key may have meant; by default every word a config may contain

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})  # a misspelt option may be the start of another

    def instantiate(self, namespace: Any, *args: Any, **options: Any) -> Any:
        check_callables(namespace)
        return super().instantiate(namespace, *args, **options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise user_error(message, ex, self.words, self)


def check_callables(tree: Any) -> None:
    """Raises UserError for a class path that names a function which makes no network: the parser would call any."""
    name = tree.get("class_path") if isinstance(tree, Namespace | dict) else None
    if isinstance(name, str):
        target = import_object(name)  # the parser has imported it already, to see its parameters
        if not isclass(target) and not makes_networks(target):
            raise UserError(f"{name} is no class and is not called; {CONTRACT}")
    branches = vars(tree).values() if isinstance(tree, Namespace) else tree.values() if isinstance(tree, dict) else tree
    for branch in branches if isinstance(tree, Namespace | dict | list | tuple) else ():
        check_callables(branch)


def keep_class_path(kind: type, path: str) -> None:
    """Have every config, digest and card name a class by this path, although a shorter package shows the class, too.

    A parser writes the shortest one: a name more in `ard` would make other runs of all that are stored.
    """
    resolved_import_paths.add(kind, path)


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
    reason = re.sub(r"Type <class '[\w.]+'> expects a function or a callable class: ", "", reason)
    reason = re.sub(r"\w+ '\w+' does not accept option", "unknown key", reason).replace("part.", "")
    reason = re.sub(r"Expected a dot import path string: (.*)", r"\1 is no file and no class path such as mynet.Net", reason)
    reason = CHOICE.sub(lambda choice: _choice(choice, message), reason)
    reason = KIND.sub(lambda kind: f"{kind[2] or _given(message)!r}: expected {TYPES.get(kind[1], kind[1])}", reason)
    keys = [key.removeprefix("part.") for key in re.findall(r'Parser key "([\w.]+)"', message) if key != "part"]
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
