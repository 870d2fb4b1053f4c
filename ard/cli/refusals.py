"""Mistakes in a command that are found at once: in names, then files, then YAML, keys and numbers that are not finite.

Nothing large is imported for it. What passes here is parsed again by the real parser, which checks types.
"""

from collections.abc import Sequence
from typing import Any

import yaml

from ard.artifacts.class_paths import TEACHERS_FROM_FILES
from ard.artifacts.paths import weights_file
from ard.cli.source_keys import LIGHTNING, Source, annotated_class, class_source, function_keys, names_of
from ard.configs.catalogue import OF_A_RUN
from ard.configs.files import check_finite, check_order, read_yaml
from ard.core.errors import UserError
from ard.core.files import existing
from ard.core.suggestions import did_you_mean

GUARDS = "ard.training.callbacks.guards.Guards"
PARTS = ("config", "seed_everything", "trainer", "model", "data", "guards")
OWN = ("resume", "allow_changes")  # of `ard fit`
BY_CODE = ("model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders")  # what Lightning's methods get
QUESTIONS = ("help", "print_config")  # which the parser answers wherever they are
NUMBERS = ("int", "float", "Radius")  # annotations under which null means nothing
CLASS = ("class_path", "init_args", "dict_kwargs")

Place = tuple[str, ...]


def check_run(words: Sequence[str]) -> "RunKeys":
    """Raises UserError for a config that is not there or cannot be read, and for an unknown key."""
    configs, options = split_words(words[1:])
    trees = [(path, read_yaml(path, *OF_A_RUN)) for path in configs]
    check_order(configs)
    keys = RunKeys(words[0])
    for path, tree in trees:
        check_finite(tree)
        keys.check(tree, f"{path}: ")
    for name, value in options:
        tree = option_tree(name, value)
        check_finite(tree)
        keys.check(tree, "--")
    return keys


def check_files(keys: "RunKeys") -> None:
    """Raises UserError where a file of weights that the command names is not there."""
    check_weights(*keys.files.values())


def check_weights(*files: str | None) -> None:
    """Raises UserError where a file of weights, or a run's folder with its student, is not there."""
    for file in filter(None, files):
        existing(weights_file(file))


def check_config(path: str | None, *, needs: str) -> None:
    """Raises UserError where a config is not there, cannot be read, or lacks the section that is asked of it."""
    if path is not None and not read_yaml(path, "bases").get(needs):
        raise UserError(f"{path} has no `{needs}:` section; expected a base config such as configs/cifar10.yaml")


def split_words(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str | None]]]:
    """The configs, and every other option with its value (None where a word of its own does not follow)."""
    configs, options, rest = [], [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith(("--", "-c")):
            continue  # the parser explains what to do
        name, equals, value = word.partition("=")
        following = value if equals else rest.pop(0) if rest and not rest[0].startswith("--") else None
        if name in ("-c", "--config"):
            configs += [following] if following else []
        else:
            options.append((name.lstrip("-").removesuffix("+"), following))
    return configs, options


def option_tree(name: str, value: str | None) -> dict[str, Any]:
    """--a.b=3 as {a: {b: 3}}."""
    try:
        content = yaml.safe_load(value or "")
    except (yaml.YAMLError, ValueError):
        content = value
    for part in reversed(name.split(".")):
        content = {part: content}
    return dict(content)


class RunKeys:
    """The keys of a run as its configs and options name them in turn: a later one may rely on an earlier one's class."""

    def __init__(self, verb: str) -> None:
        self.classes: dict[Place, str] = {}
        self.files: dict[Place, str] = {}
        method = function_keys(f"{LIGHTNING}.Trainer", verb)
        own = OWN if verb == "fit" else ()
        self.known = {*PARTS, *own, *(key for key in method if key not in BY_CODE)} if method else set()
        self.trainer = function_keys(f"{LIGHTNING}.Trainer", "__init__")

    def check(self, tree: dict[str, Any], origin: str) -> None:
        """Raises UserError for the first unknown key."""
        self.origin = origin
        self._refuse(tree, self.known, ())
        for part in ("model", "data"):
            self._part(tree.get(part), (part,))
        guards = class_source(GUARDS)
        for part, known in (("trainer", self.trainer), ("guards", list(guards.keys) if guards else [])):
            if isinstance(tree.get(part), dict):
                self._refuse(tree[part], known, (part,))

    def _part(self, value: Any, place: Place) -> None:
        """A class {class_path, init_args}, a list of them, or the name of one alone."""
        if isinstance(value, list):
            for index, part in enumerate(value):
                self._part(part, (*place, str(index)))
        name = value.get("class_path") if isinstance(value, dict) else value if isinstance(value, str) else None
        if isinstance(name, str) and self.classes.get(place) != name:
            self.classes[place] = name
            self._check_name(name, place)
        source = class_source(self.classes.get(place, ""))
        if isinstance(value, dict) and source is not None:
            arguments = value.get("init_args")
            if source.is_complete:
                self._refuse(value, {*CLASS, *source.keys}, place)
            for tree, inside in ((value, place), (arguments, (*place, "init_args"))):
                if isinstance(tree, dict):
                    self._arguments(tree, source, inside)

    def _arguments(self, tree: dict[str, Any], source: Source, place: Place) -> None:
        if source.is_complete and place[-1] == "init_args":
            self._refuse(tree, source.keys, place)
        for key in source.keys.keys() & tree.keys():
            value, block = tree[key], annotated_class(source.keys[key], source.module)
            if value is None and source.keys[key] in NUMBERS:  # the parser takes it for an option that is not there
                raise UserError(f"{self._dotted((*place, key))}: null; expected a number, or no such key")
            if block is not None and isinstance(value, dict):
                self._refuse(value, {*block.keys, *CLASS}, (*place, key))
            else:
                self._file_or_part(key, value, (*place, key))

    def _file_or_part(self, key: str, value: Any, place: Place) -> None:
        is_teacher = key == "weights" and self.classes.get(place[:-2], self.classes.get(place[:-1])) in TEACHERS_FROM_FILES
        is_start = key == "init" and place[:1] == ("model",) and len(place) < 4
        if isinstance(value, str) and value and (is_teacher or is_start):
            self.files[place] = value
        elif isinstance(value, dict | list) or (isinstance(value, str) and "." in value):
            self._part(value, place)

    def _check_name(self, name: str, place: Place) -> None:
        """A class of ours that its module does not have; names of others are the parser's to find."""
        module, _, last = name.rpartition(".")
        if module.partition(".")[0] == "ard" and last not in (names := names_of(module)) and names:
            raise UserError(f"{self._dotted(place)}: {module} has no {last!r}{did_you_mean(last, names)}")

    def _refuse(self, tree: dict[str, Any], known: Any, place: Place) -> None:
        wrong = next((key for key in tree if known and key not in known and key not in QUESTIONS), None)
        if wrong is not None:
            end = did_you_mean(str(wrong), sorted(known)) or f"; expected one of {', '.join(sorted(known))}"
            raise UserError(f"{self._dotted((*place, str(wrong)))}: unknown key {str(wrong)!r}{end}")

    def _dotted(self, place: Place) -> str:
        return self.origin + ".".join(place)
