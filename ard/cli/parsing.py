"""The words of the command line as the arguments of a verb's function."""

from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from inspect import signature
from itertools import zip_longest
from typing import Any

from ard.configs.building import OneLineErrors
from ard.core.user_paths import written_out


def parse(verb: str, function: Callable[..., Any], argv: list[str]) -> dict[str, Any]:
    """The arguments of a typed function from the command line; those without a default are positional.

    A dataclass among the parameters is replaced by its fields, each an option of its own.
    """
    parser = OneLineErrors(prog=f"ard {verb}", description=(function.__doc__ or "").split("\n")[0])
    parameters = signature(function).parameters.values()
    grouped: dict[str, Any] = {p.name: p.annotation for p in parameters if is_dataclass(p.annotation)}
    options = {name: [field.name for field in fields(kind)] for name, kind in grouped.items()}
    parser.words = [p.name for p in parameters] + [name for names in options.values() for name in names]
    needed = [p for p in parameters if p.default is p.empty and p.name not in grouped]
    for p in needed:
        count: dict[str, Any] = {"nargs": "+"} if p.annotation == list[str] else {"type": p.annotation}
        parser.add_argument(p.name, metavar=p.name.upper(), **count)
    for kind in grouped.values():
        parser.add_class_arguments(kind, None)
    parser.add_function_arguments(function, fail_untyped=True, skip={*grouped, *(p.name for p in needed)})
    flags = {p.name for p in parameters if p.annotation is bool}
    flags |= {field.name for kind in grouped.values() for field in fields(kind) if field.type in (bool, bool | None)}
    words = [_normalized_word(word, after, flags) for word, after in zip_longest(argv, argv[1:])]
    arguments = written_out(parser.parse_args(words))
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
