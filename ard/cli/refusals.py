"""Mistakes in a command that are found at once: in names, then files, then YAML, keys and numbers that are not finite.

Nothing large is imported for it. What passes here is parsed again by the real parser, which checks types.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ard.artifacts.class_paths import TEACHERS_FROM_FILES
from ard.artifacts.paths import weights_file
from ard.cli.aliases import ALIASES
from ard.cli.composed import composed, option_tree
from ard.cli.help_text import option_keys
from ard.cli.short_words import split_words
from ard.cli.source_keys import LIGHTNING, Source, annotated_class, class_source, function_keys, names_of
from ard.configs.catalogue import OF_A_RUN
from ard.configs.files import check_finite, check_order, read_data, read_yaml
from ard.core.class_folders import check_images
from ard.core.errors import UserError
from ard.core.files import existing
from ard.core.suggestions import did_you_mean, nearest
from ard.core.user_paths import written_out

GUARDS = "ard.training.callbacks.guards.Guards"
PARTS = ("config", "seed_everything", "trainer", "model", "data", "guards")
OWN = {"fit": ("resume", "allow_changes", "allow_mismatch"), "validate": ("allow_mismatch",)}
BY_CODE = ("model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders")  # what Lightning's methods get
QUESTIONS = ("help", "print_config")  # which the parser answers wherever they are
NUMBERS = ("int", "float", "Radius")  # annotations under which null means nothing
IN_FOLDERS = ("ImageFolder", "Photos")  # data whose `root` holds a folder a class
LISTED = "`ard list` shows which there are"
CLASS = ("class_path", "init_args", "dict_kwargs")

Place = tuple[str, ...]


def check_run(words: Sequence[str]) -> "RunKeys":
    """Raises UserError for a config that is not there or cannot be read, and for an unknown key; the words are expanded."""
    configs, options = split_words(words[1:])
    if not configs and not options:
        raise UserError(f"ard {words[0]}: expected a base and a method, as in `ard {words[0]} digits pgd_at`; {LISTED}")
    trees = [(f"{path}: ", read_yaml(path, *OF_A_RUN)) for path in configs]
    check_order(configs)
    keys = RunKeys(words[0])
    for origin, tree in (*trees, *(("--", option_tree(*option)) for option in options)):
        check_finite(tree)
        keys.check(tree, origin)
        keys.data = composed([{"data": keys.data}, tree])["data"] if "data" in tree else keys.data
    return keys


def check_files(keys: "RunKeys") -> None:
    """Raises UserError where a file of weights that the command names is not there, or files of images are none."""
    check_weights(*keys.files.values())
    check_image_files(keys)


def check_image_files(keys: "RunKeys") -> None:
    """Raises UserError that names all files of images that are none."""
    data = keys.data.get("base", keys.data) if isinstance(keys.data, dict) else {}
    if isinstance(data, dict) and str(data.get("class_path")).rpartition(".")[2] in IN_FOLDERS and data.get("root"):
        check_images(Path(str(written_out(data["root"]))))


def check_weights(*files: str | None) -> None:
    """Raises UserError where a file of weights, or a run's folder with its student, is not there."""
    for file in filter(None, files):
        existing(weights_file(file))


def check_data(path: str | None) -> None:
    """Raises UserError where a config is not there, cannot be read, or does not say which data these are."""
    if path is not None:
        read_data(path)


class RunKeys:
    """The keys of a run as its configs and options name them in turn: a later one may rely on an earlier one's class."""

    def __init__(self, verb: str) -> None:
        self.classes: dict[Place, str] = {}
        self.files: dict[Place, str] = {}
        self.data: Any = {}  # what configs and options say of the images, together
        method = function_keys(f"{LIGHTNING}.Trainer", verb)
        self.known = {*PARTS, *OWN[verb], *(key for key in method if key not in BY_CODE)} if method else set()
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
        if isinstance(name, str) and self.classes.get(_short(place)) != name:
            self.classes[_short(place)] = name
            self._check_name(name, place)
        source = class_source(self.classes.get(_short(place), ""))
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
        is_teacher = key == "weights" and self.classes.get(_short(place[:-1])) in TEACHERS_FROM_FILES
        is_start = _short(place) == ("model", "init")
        if isinstance(value, str) and value and (is_teacher or is_start):
            self.files[_short(place)] = value
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
            is_option = self.origin == "--" and not place
            meant = _meant(str(wrong), known) if is_option else nearest(str(wrong), sorted(known))
            listed = "`ard fit --help` shows them" if is_option else f"expected one of {', '.join(sorted(known))}"
            end = f"; did you mean {meant!r}?" if meant else f"; {listed}"
            raise UserError(f"{self._dotted((*place, str(wrong)))}: unknown key {str(wrong)!r}{end}")

    def _dotted(self, place: Place) -> str:
        return self.origin + ".".join(place)


def _meant(wrong: str, known: Iterable[str]) -> str | None:
    """A short option, or a key of the run that ends so, such as --weight_decay."""
    short = {word: name for name, alias in ALIASES.items() for word in (name, *alias.tried)}
    if wrong not in short:
        for key in option_keys():
            if key.endswith(f".{wrong}"):
                return key
    near = nearest(wrong, sorted({*known, *short}))
    return short.get(near, near) if near else None


def _short(place: Place) -> Place:
    """Without the `init_args`, which options may leave out."""
    return tuple(part for part in place if part != "init_args")
