"""Suggestions for a misspelt option or a missing file."""

import pkgutil
import re
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from importlib import import_module
from inspect import isclass, signature

import ard
from ard.core.suggestions import did_you_mean

# What to do about a message of the parser that only names what is missing.
ADVICE = {
    r"required: (fit|validate)\.": "name a base and a method, as in: ard fit digits pgd_at",
    r"required: objective$": "name a method after the base, as in: ard fit digits pgd_at",
    r"required: .*\bval_attack\b": "a base comes before the method, as in: ard fit digits pgd_at",
}


def suggestion(reason: str, words: Iterable[str] = (), parser: ArgumentParser | None = None) -> str:
    """The end of a message: what was meant, or what to do; `words` and the parser's own names come first."""
    missing = re.search(r"module '([\w.]+)' has no attribute '(\w+)'", reason)
    if missing:
        module = import_module(missing[1])
        return did_you_mean(
            missing[2], getattr(module, "__all__", None) or [name for name in vars(module) if name[0] != "_"]
        )
    wrong = re.search(r"(?:[Oo]ption '|key '|arguments: --)([\w.]+)", reason)
    if wrong:
        own = [*words, *(_options(parser) if parser else ())]
        return _in_place(wrong[1].split("."), [name.split(".") for name in own]) or _anywhere(wrong[1], words)
    return next((f"; {advice}" for pattern, advice in ADVICE.items() if re.search(pattern, reason)), "")


def _options(parser: ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (option.lstrip("-") for option in action.option_strings or [action.dest])
        for verb in action.choices.values() if isinstance(action.choices, dict) else ():
            yield from _options(verb)


def _in_place(word: list[str], names: list[list[str]]) -> str:
    """The nearest name for the first part of a dotted one that is wrong, among those that may stand there."""
    for place, part in enumerate(word):
        siblings = {name[place] for name in names if len(name) > place and name[:place] == word[:place]}
        if part not in siblings:
            return did_you_mean(part, sorted(siblings))
    return ""


def _anywhere(word: str, words: Iterable[str]) -> str:
    known = set(words or _vocabulary())
    return next((did_you_mean(part, sorted(known)) for part in word.split(".") if part not in known), "")


def _vocabulary() -> Iterator[str]:
    """Every word a config may contain: parameters of our classes and of the trainer."""
    from pytorch_lightning import Trainer

    yield from ("model", "data", "trainer", "guards", "class_path", "init_args", "config", "ckpt_path", "seed_everything")
    yield from signature(Trainer.__init__).parameters
    for module in pkgutil.walk_packages(ard.__path__, "ard."):
        if not module.name.endswith("__main__"):
            for value in vars(import_module(module.name)).values():
                if isclass(value) and value.__module__ == module.name and "__init__" in vars(value):
                    yield from signature(value.__init__).parameters
