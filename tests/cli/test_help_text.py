"""The screens of help: short, made from the source, and true of what the parser takes; torch is asked only here."""

import importlib
import inspect
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from ard.cli import help_text
from ard.cli.aliases import ALIASES
from ard.cli.help_text import all_options, option_keys, rows, run_help, verb_help
from ard.cli.known_classes import classes_of, known_classes
from ard.cli.parameters import argument_sentences, class_parameters, kind
from ard.cli.refusals import check_run
from ard.commands import VERBS, exit_statuses

CLASSES = [
    "ard.training.schedule.Training",
    "ard.training.weight_perturbation.AWP",
    "ard.training.callbacks.guards.Guards",
    *(f"ard.{group}.{name}" for group in ("data", "attacks", "models") for name in known_classes(group)),
    *(f"ard.attacks.{name}" for name in classes_of("ard.attacks", "Ball")),
    *(f"ard.models.{name}" for name in ("Frozen", *classes_of("ard.models", "Frozen"))),
]


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("class_path", CLASSES)
def test_every_parameter_is_that_of_the_class_and_has_a_sentence(class_path):
    """Contract: what is read from the source is what Python says of the class itself."""
    module, _, name = class_path.rpartition(".")
    constructor = inspect.signature(getattr(importlib.import_module(module), name)).parameters.values()
    found = {part.name: part for part in class_parameters(class_path)}
    named = [part for part in constructor if part.kind is not part.VAR_KEYWORD]
    assert {part.name for part in named} <= set(found)
    for part in named:
        if part.default is part.empty:
            assert found[part.name].default is None
        elif isinstance(part.default, bool) or part.default is None:
            assert found[part.name].default == {None: "null", True: "true", False: "false"}[part.default]
        elif isinstance(part.default, int | float | str):
            assert found[part.name].default == str(part.default)
    assert [part.name for part in found.values() if not part.about and part.name not in help_text.LINKED] == []


@pytest.mark.parametrize("class_path", CLASSES)
def test_the_words_of_a_choice_are_shown(class_path):
    """Also where another module says them, and of the constructor that a config goes through."""
    module, _, name = class_path.rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    hints = get_type_hints(getattr(kind, "from_config", kind.__init__))
    choices = {key: "|".join(_words(hint)) for key, hint in hints.items() if key != "return" and _words(hint)}
    found = {part.name: part.value.removesuffix("|null") for part in class_parameters(class_path)}
    assert {key: found[key] for key in choices} == choices


def _words(hint: Any) -> list[str]:
    return [str(word) for part in (hint, *get_args(hint)) if get_origin(part) is Literal for word in get_args(part)]


def test_every_option_that_is_shown_is_one():
    """Each is a key that the refusals know at its place, with the class that its part names."""
    text = all_options()
    for title, block in (part.split(":\n", 1) for part in text.split("\n\n")[1:]):
        place, _, classes = title.partition(", ")
        words = ["fit", "digits", "pgd_at"]
        if place.startswith(("model.", "data")) and classes:
            words.append(f"--{place}={classes.split(', ')[0]}")
        keys = [line.split()[0] for line in block.splitlines() if line.startswith("  --")]
        assert keys
        if "objective" not in place and "FreeDistillation" not in title:
            check_run([*words, *(f"{key}=1" for key in keys if "CLASS" not in key)])


def test_options_that_are_refused_are_not_shown():
    from ard.training.trainer import FIXED, TRAINER_DEFAULTS

    assert {f"trainer.{name}" for name in FIXED} & set(option_keys()) == set()
    assert {"self", "cls"} & {key.rpartition(".")[2] for key in option_keys()} == set()
    assert f"(default: {TRAINER_DEFAULTS['log_every_n_steps']})" in all_options()


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if not verb.raw])
def test_a_verb_says_what_it_takes_on_one_screen(verb):
    row = VERBS[verb]
    text = verb_help(verb, row.usage, f"ard.commands.{row.module}", row.function, exit_statuses(verb))
    assert text.startswith(f"usage: ard {verb}")
    assert len(text.splitlines()) <= 44
    assert max(map(len, text.splitlines())) <= 80


def test_fit_says_what_people_use_on_one_screen():
    text = run_help("fit", exit_statuses("fit"))
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 80
    assert [name for name in ALIASES if f"  --{name.replace('_', '-')}" not in text] == []
    assert "--help-all" in text


def test_sentences_and_kinds():
    text = "What it is.\n\nArgs:\n    one: The first,\n        on two lines.\n    two: Two.\n\nRaises:\n    UserError: No."
    assert argument_sentences(text) == {"one": "The first, on two lines.", "two": "Two."}
    kinds = ["int", "float | None", "Literal['a', 'b']", "Sequence[int]", "Optional[Union[int, str]]", "Network", ""]
    assert [kind(one, "ard.models") for one in kinds] == ["N", "NUMBER|null", "a|b", "LIST", "N|TEXT|null", "CLASS", "VALUE"]
    assert kind("Precision", "ard.training.trainer") == "auto|32-true|bf16-mixed|16-mixed"
    assert rows([("--a", "short"), (f"--{'a' * 30}", "")]) == [f"{'  --a':<24}short", f"  --{'a' * 30}"]
