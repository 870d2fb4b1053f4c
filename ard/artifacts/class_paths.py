"""The classes that a file names: every one is compared with the known ones before anything is built.

A parser imports the module of a class path. A file from somebody else must not make it import `helper.py` of the
current folder, wherever in the file that name is.
"""

import re
from collections.abc import Iterator, Mapping
from inspect import isclass, signature
from types import ModuleType
from typing import Any

from ard.core.errors import UserError
from ard.core.suggestions import did_you_mean

TEACHERS_FROM_FILES = ("ard.models.Frozen", "ard.models.Cached")  # their weights are an argument
HARMLESS = re.compile(r"\w*|[-+]?\d+(\.\d+)?([eE][-+]\d+)?|\d+/\d+")  # a word or a number: no parser finds a module in it


def exported_classes(package: ModuleType, kind: type) -> dict[str, type]:
    """The subclasses of `kind` that a package of ours exports, by the class paths that configs and cards use."""
    exports = {name: getattr(package, name) for name in package.__all__}
    return {f"{package.__name__}.{name}": cls for name, cls in exports.items() if isclass(cls) and issubclass(cls, kind)}


def check_classes(tree: Any, known: Mapping[str, type], message: str) -> None:
    """Raises UserError, `message` with the name put in, for the first class path in a tree that is not known."""
    for name in class_paths(tree, known):
        if name not in known:
            package = next(iter(known)).rpartition(".")[0]
            near = did_you_mean(name.removeprefix(f"{package}."), [path.rpartition(".")[2] for path in known])
            raise UserError(message.format(name) + (near if name.startswith(f"{package}.") else ""))


def is_ours(network: Mapping[str, Any]) -> bool:
    """Whether {class_path, init_args} is enough to build a network again: it and those inside it are of ard.models."""
    network_tree = {key: network.get(key) for key in ("class_path", "init_args")}
    return all(name.startswith("ard.models.") for name in class_paths(network_tree, {}))


def class_paths(tree: Any, known: Mapping[str, type]) -> Iterator[str]:
    """Every name in a tree that a parser may import, outer ones first: class paths, and texts where a class is expected."""
    return _names(tree, known, text=False)


def _names(tree: Any, known: Mapping[str, type], *, text: bool) -> Iterator[str]:
    """Of a part that is `text` by its type or not: where it is not, a parser reads text as a name, or as YAML of such."""
    if isinstance(tree, str) and not text and not HARMLESS.fullmatch(tree):
        yield tree
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from _names(value, known, text=text)
    elif isinstance(tree, dict):
        if "class_path" in tree:
            yield str(tree["class_path"])
        for key, value in _parts(tree):
            yield from _names(value, known, text=_is_text(known.get(str(tree.get("class_path"))), key))


def _parts(tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a dict holds beside its class path, its arguments by their own names."""
    for key, value in tree.items():
        if key in ("init_args", "dict_kwargs") and isinstance(value, dict):
            yield from value.items()
        elif key != "class_path" or isinstance(value, dict | list):
            yield key, value


def _is_text(cls: type | None, argument: str) -> bool:
    """Whether a class's argument is text by its annotation."""
    expected = signature(cls).parameters if cls is not None else {}
    return argument in expected and "str" in str(expected[argument].annotation)
