"""The words of the command line as the arguments of a verb's function."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, is_dataclass
from inspect import Parameter, signature
from itertools import pairwise, zip_longest
from typing import Any

from ard.configs.building import OneLineErrors
from ard.core.errors import UserError
from ard.core.user_paths import written_out


def parse(verb: str, function: Callable[..., Any], argv: list[str], usage: str = "") -> dict[str, Any]:
    """The arguments of a typed function from the command line; those without a default are positional.

    A dataclass among the parameters is replaced by its fields, each an option of its own. `usage` names the positional ones.
    """
    parameters = signature(function).parameters
    grouped: dict[str, Any] = {name: p.annotation for name, p in parameters.items() if is_dataclass(p.annotation)}
    kinds: dict[str, Any] = {name: p.annotation for name, p in parameters.items() if name not in grouped}
    needed = [name for name in kinds if parameters[name].default is Parameter.empty]
    kinds |= {field.name: field.type for group in grouped.values() for field in fields(group)}
    parser = OneLineErrors(prog=f"ard {verb}", description=(function.__doc__ or "").split("\n")[0])
    parser.words = list(kinds)
    for name in needed:
        count: dict[str, Any] = {"nargs": "+"} if kinds[name] == list[str] else {"type": kinds[name]}
        parser.add_argument(name, metavar=name.upper(), **count)
    for group in grouped.values():
        parser.add_class_arguments(group, None)
    parser.add_function_arguments(function, fail_untyped=True, skip={*grouped, *needed})
    flags = [name for name, kind in kinds.items() if kind in (bool, bool | None)]
    _check_empty(argv, flags)
    words = _names_first([_normalized_word(word, after, flags) for word, after in zip_longest(argv, argv[1:])])
    try:
        given = written_out(parser.parse_args(words))
    except UserError as error:
        raise UserError(f"expected ard {verb} {usage}") if "arguments are required" in str(error) else error from None
    made = {name: group(**{field.name: given[field.name] for field in fields(group)}) for name, group in grouped.items()}
    return {name: made[name] if name in made else given[name] for name in parameters}


def _check_empty(argv: list[str], flags: Collection[str]) -> None:
    """Raises UserError for a name that is empty, as a shell makes of a variable that is not set."""
    for before, word in pairwise(["", *argv]):
        option, equals, value = word.partition("=")
        if not word:
            takes = before.startswith("--") and "=" not in before and before[2:].replace("-", "_") not in flags
            option = before if takes else "''"
        if not word or (word.startswith("--") and equals and not value):
            raise UserError(f"{option} names nothing: expected a value, or leave it out")


def _names_first(words: Sequence[str]) -> list[str]:
    """Names may stand on both sides of an option, of which argparse would take the first ones alone."""
    options: list[str] = []
    names: list[str] = []
    rest = [] if "--" in words else list(words)
    while rest:
        word = rest.pop(0)
        (options if word.startswith("--") else names).append(word)
        if word.startswith("--") and "=" not in word and rest and not rest[0].startswith("--"):
            options.append(rest.pop(0))
    return [*names, *options] or list(words)


def _normalized_word(word: str, after: str | None, flags: Collection[str]) -> str:
    """--save-adversarial -> --save_adversarial=true: options as people write them."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    name = "--" + name[2:].replace("-", "_")
    bare = name[2:] in flags and not equals and (after or "").lower() not in ("true", "false", "yes", "no", "null")
    return f"{name}=true" if bare else name + equals + value
