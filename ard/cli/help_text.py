"""The screens of `ard VERB --help`, made from the table of short options and from what the source says; without torch."""

import ast
import re
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ard.cli.aliases import ALIASES, dashed
from ard.cli.known_classes import classes_of, known_classes
from ard.cli.parameters import Parameter, class_parameters, constant, default_text, function_parameters
from ard.cli.source_keys import LIGHTNING
from ard.configs.catalogue import names
from ard.configs.files import read_yaml
from ard.core.text import first_sentence

ALL = "--help-all"
FOR_HELP = {"-h", "--help", ALL}
WIDEST = 110  # columns
LINKED = ("seed", "num_classes", "ball", "weights_only")  # set by other options, or by the data
ALLOW_MISMATCH = "go on although a teacher or checkpoint names other classes or sizes, since they mean the same"
ALLOW_CHANGES = "go on although the checkpoint was written with other options"
CHECKPOINT = "a checkpoint to go on from, or to measure: a file, best or last"

FIT = """usage: ard fit BASE METHOD [SCHEDULE] [options]

Train one student. BASE is a config of data, network and radius, METHOD of how to train, SCHEDULE perhaps of how long: names
of `ard list`, or files of your own. Later ones win, options win over all.
"""
EXAMPLES = """
Examples:
  ard fit digits pgd_at --epochs 10 --out checkpoints/teacher
  ard fit digits rslad --teacher checkpoints/teacher --student resnet
  ard fit cifar10 ard schedules/ard --teacher FILE --devices 8 --resume
  ard fit image_folder trades --data-dir my/images --eps 4/255 --seed 1

Every key of a config is an option, too: --model.attack.steps 20.
`ard fit --help-all` lists them, `ard doctor` with the same words tries a run.
"""
VALIDATE = """usage: ard validate BASE METHOD --ckpt_path FILE [options]

Measure a checkpoint of a run again, clean and attacked, on the validation images. Configs and options as of `ard fit`.

Example:
  ard validate digits pgd_at --ckpt_path checkpoints/digits/pgd_at/seed0/best.ckpt
"""


def run_help(verb: str, statuses: str) -> str:
    """One screen about `ard fit` or `ard validate`."""
    if verb != "fit":
        return "\n".join(_wrapped(VALIDATE))
    options = [(f"{dashed(name)} {alias.value}".strip(), alias.about) for name, alias in ALIASES.items()]
    end = _wrapped(f"Exit status: {statuses}.")
    return "\n".join([*_wrapped(FIT), "", *rows(options), *EXAMPLES.rstrip().splitlines(), "", *end])


def verb_help(verb: str, usage: str, module: str, function: str, statuses: str) -> str:
    """One screen about a verb that is a typed function."""
    about, parameters = function_parameters(module, function)
    needed = [part.about.rstrip(".") for part in parameters if part.default is None]
    options = [(_option(part), _sentence(part)) for part in parameters if part.default is not None]
    line = " ".join(["usage: ard", verb, *usage.split(), *(["[options]"] if options else [])])
    positional = zip(usage.replace("...", "").split(), needed, strict=True)
    end = _wrapped(f"Exit status: {statuses}.")
    return "\n".join([line, "", *_wrapped(about), "", *rows(positional), *rows(options), "", *end])


def all_options() -> str:
    """Every key of a run, below the part that it belongs to."""
    parts = [("The run", _of_the_run()), *_of_the_model(), *_of_classes("data", "ard.data", known_classes("data"))]
    parts += [("guards", _rows_of("guards", "ard.training.callbacks.guards.Guards")), ("trainer", _of_the_trainer())]
    parts += _of_objectives()
    lines = [line for title, pairs in parts for line in ("", f"{title}:", *rows(pairs))]
    return "\n".join(["usage: ard fit BASE METHOD [SCHEDULE] [options]", *lines])


def rows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Options on the left, what they are on the right, as wide as the terminal."""
    lines: list[str] = []
    indent = 24 if screen_width() < 100 else 34
    for left, right in pairs:
        text = textwrap.wrap(right, screen_width() - indent, break_on_hyphens=False)
        own = [] if text and len(left) < indent - 3 else [f"  {left}"]
        first = [f"  {left:<{indent - 2}}{text.pop(0)}"] if not own else []
        lines += [*own, *first, *(" " * indent + line for line in text)]
    return lines


def screen_width() -> int:
    """Of the terminal; 80 where there is none."""
    return min(shutil.get_terminal_size().columns, WIDEST)


def option_keys() -> list[str]:
    """Every dotted key that `all_options` shows."""
    return re.findall(r"^  --([\w.]+)", all_options(), re.MULTILINE)


def _wrapped(text: str) -> list[str]:
    """Paragraphs as wide as the terminal; those that show commands stay."""
    parts = text.strip().split("\n\n")
    filled = [
        part if part.startswith(("usage", "Example")) else textwrap.fill(" ".join(part.split()), screen_width())
        for part in parts
    ]
    return "\n\n".join(filled).splitlines()


def _option(part: Parameter) -> str:
    value = part.value.removesuffix("|null")
    flag = value == "true|false" and part.default in ("false", "null")
    return dashed(part.name) + ("" if flag else f" {value}")


def _sentence(part: Parameter) -> str:
    shown = "" if part.default in ("null", "false", "", None) else f" (default: {part.default})"
    return f"{part.about.rstrip('.')}{shown}".strip()


def _rows_of(place: str, class_path: str) -> list[tuple[str, str]]:
    kept = [part for part in class_parameters(class_path) if part.name not in LINKED]
    return [(f"--{place}.{part.name} {part.value.removesuffix('|null')}", _sentence(part)) for part in kept]


def _of_the_run() -> list[tuple[str, str]]:
    short = ALIASES["seed"], ALIASES["resume"]
    named = [(f"--{alias.key} {alias.value}".strip(), alias.about) for alias in short]
    allowed = [("--allow_changes", ALLOW_CHANGES), ("--allow_mismatch", ALLOW_MISMATCH)]
    return [*named, *allowed, ("--ckpt_path FILE", CHECKPOINT)]


def _of_the_model() -> list[tuple[str, list[tuple[str, str]]]]:
    taught = {"Frozen": "", **classes_of("ard.models", "Frozen")}
    return [
        ("model, ard.Distillation", _rows_of("model", "ard.training.distillation.Distillation")),
        ("model, ard.FreeDistillation, also", _own_rows("ard.training.replays.FreeDistillation", "replays", "clamped")),
        ("model.training", _rows_of("model.training", "ard.training.schedule.Training")),
        ("model.weight_perturbation", _rows_of("model.weight_perturbation", "ard.training.weight_perturbation.AWP")),
        *_of_classes("model.threat", "ard.attacks", classes_of("ard.attacks", "Ball")),
        *_of_classes("model.attack", "ard.attacks", known_classes("attacks")),
        *_of_classes("model.student", "ard.models", known_classes("models")),
        *_of_classes("model.teacher", "ard.models", taught),
    ]


def _own_rows(class_path: str, *names: str) -> list[tuple[str, str]]:
    options = {f"--model.{name}" for name in names}
    return [row for row in _rows_of("model", class_path) if row[0].partition(" ")[0] in options]


def _of_classes(place: str, package: str, classes: Iterable[str]) -> list[tuple[str, list[tuple[str, str]]]]:
    """A part for each class; classes that take the same are one."""
    parts: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for name in classes:
        parts.setdefault(tuple(_rows_of(place, f"{package}.{name}")), []).append(f"{package}.{name}")
    return [(f"{place}, {', '.join(found)}", list(pairs)) for pairs, found in parts.items() if pairs]


def _of_objectives() -> list[tuple[str, list[tuple[str, str]]]]:
    methods: dict[str, list[str]] = {}
    for name in names("methods"):
        objective = read_yaml(f"methods/{name}")["model"]["init_args"]["objective"]
        methods.setdefault(objective["class_path"], []).append(name)
    parts = [(f"model.objective of {_listed(of)}", _rows_of("model.objective", path)) for path, of in methods.items()]
    return [(title, pairs) for title, pairs in parts if pairs]


def _listed(methods: Sequence[str]) -> str:
    return ", ".join(name for name in methods if not name.endswith("-as-released"))


def _of_the_trainer() -> list[tuple[str, str]]:
    """Lightning's, without those that are refused, and with our defaults."""
    ours = {part.name: part for part in class_parameters("ard.training.trainer.Trainer")}
    changed, fixed = (_literal_keys(name) for name in ("TRAINER_DEFAULTS", "FIXED"))
    found = []
    for part in class_parameters(f"{LIGHTNING}.Trainer"):
        if part.name not in fixed:
            mine = ours.get(part.name) or replace(part, about=first_sentence(re.sub(r"``|:\w+:|`~?|`", "", part.about)))
            mine = replace(mine, default=changed.get(part.name, mine.default))
            found.append((f"--trainer.{part.name} {mine.value.removesuffix('|null')}", _sentence(mine)))
    return found


def _literal_keys(name: str) -> dict[str, str]:
    tree = constant(name, "ard.training.trainer")
    assert isinstance(tree, ast.Dict)
    pairs = zip(tree.keys, tree.values, strict=True)
    return {ast.literal_eval(key): default_text(value, "") for key, value in pairs if key}
