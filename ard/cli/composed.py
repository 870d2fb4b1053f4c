"""What configs and options say together, before a parser has seen them: one tree without `init_args`."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import yaml

from ard.core.user_paths import written_out

PATHS = {"root", "weights", "init", "default_root_dir"}  # keys whose text is none of YAML's: 2024_01_05, Trip #3


def composed(trees: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Later trees win; where they name another class, the arguments stay, as the parser keeps those that it can."""
    whole: dict[str, Any] = {}
    for tree in trees:
        whole = _merged(whole, without_init_args(tree))
    return whole


def without_init_args(tree: Any) -> Any:
    """The same tree with the arguments of a class beside its class_path, as short options name them."""
    if isinstance(tree, list):
        return [without_init_args(part) for part in tree]
    if not isinstance(tree, dict):
        return tree
    arguments = tree.get("init_args")
    flat = {key: part for key, part in tree.items() if key != "init_args"}
    flat |= arguments if isinstance(arguments, dict) else {}
    return {key: without_init_args(part) for key, part in flat.items()}


def option_tree(name: str, value: str | None) -> dict[str, Any]:
    """--a.b=3 as {a: {b: 3}}, and --a.b+=3, which adds to a list, the same."""
    *_, last = parts = name.removesuffix("+").split(".")
    content: Any = value
    if last not in PATHS or value in ("", "null"):
        with suppress(yaml.YAMLError, ValueError):
            content = yaml.safe_load(value or "")
    content = written_out(content)
    for part in reversed(parts):
        content = {part: content}
    return dict(content)


def _merged(old: Any, new: Any) -> Any:
    """A class may be named by a text alone."""
    if isinstance(old, dict) and isinstance(new, str) and "class_path" in old:
        new = {"class_path": new}
    if isinstance(old, str) and isinstance(new, dict):
        old = {"class_path": old}
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return old | {key: _merged(old.get(key), part) for key, part in new.items()}
