"""Completion by the Tab key: verbs, names of configs and options, from the tables that help is made from; by argcomplete."""

import os
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ard.cli.aliases import ALIASES, dashed
from ard.cli.help_text import ALL, option_keys
from ard.cli.known_classes import GROUPS, known_classes
from ard.cli.parameters import function_parameters
from ard.configs.catalogue import KINDS, names

Verbs = dict[str, tuple[str, str]]  # verb -> module and function
Values = Callable[[], list[str]]
OF_OPTIONS: dict[str, Values] = {
    "student": lambda: list(known_classes("models")),
    "logger": lambda: ["tensorboard", "wandb"],
    "precision": lambda: ["auto", "32-true", "bf16-mixed", "16-mixed"],
}
OF_FUNCTIONS: dict[str, Values] = {
    "study": lambda: names("studies"),
    "print_config": lambda: [name for kind in KINDS for name in names(kind)],
}


def complete(verbs: Verbs) -> None:
    """Answer the shell that asks, and end the process; without argcomplete nothing happens."""
    try:
        import argcomplete
    except ImportError:
        return
    argcomplete.autocomplete(command_line(verbs))


def command_line(verbs: Verbs) -> ArgumentParser:
    """A parser that knows what may stand where; it parses nothing."""
    parser = ArgumentParser(prog="ard", add_help=False)
    rows = parser.add_subparsers()
    for verb, (module, function) in verbs.items():
        row = rows.add_parser(verb, add_help=False)
        row.add_argument("--help")
        if function in ("fit_student", "doctor"):
            _of_a_run(row)
        elif function == "list_known":
            row.add_argument("group", choices=[*KINDS, *GROUPS])
        else:
            _of_a_function(row, module, function)
    return parser


def _of_a_run(row: ArgumentParser) -> None:
    for place in ("bases", "methods", "schedules", "augmentations"):
        _completed(row, place, partial(_configs, place), nargs="?")
    for name in ALIASES:
        _completed(row, dashed(name), OF_OPTIONS.get(name))
    for key in (ALL, "--config", "--ckpt_path"):
        row.add_argument(key)
    if "." in os.environ.get("COMP_LINE", "").split(" ")[-1]:  # two hundred of them: when one has been begun
        for key in dict.fromkeys(key for key in option_keys() if "." in key):
            row.add_argument(f"--{key}")


def _configs(kind: str) -> list[str]:
    return [*names(kind), *(file.stem for file in Path().glob("*.yaml"))]


def _of_a_function(row: ArgumentParser, module: str, function: str) -> None:
    for part in function_parameters(module, function)[1]:
        if part.default is not None:
            row.add_argument(dashed(part.name))
        else:
            _completed(row, part.name, OF_FUNCTIONS.get(function), nargs="*")


def _completed(row: ArgumentParser, name: str, values: Values | None, **options: Any) -> None:
    """Files where nothing else is known, as argcomplete does by itself."""
    argument = row.add_argument(name, **options)
    if values is not None:
        argument.completer = lambda **_: values()  # type: ignore[attr-defined]
