"""Config files as they are read: every key once, no number that is not finite, the base before its recipe."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ard.configs.catalogue import OF_A_RUN, find, short_config_path
from ard.core.errors import UserError
from ard.core.files import small_text
from ard.core.trees import check_size
from ard.core.user_paths import written_out

LARGEST = 2**20  # bytes of a config; shipped ones have a few thousand
MOST_IN_CONFIG = 100_000  # values, aliases written out; shipped ones have fewer than a hundred


def read_yaml(name: str | Path, *kinds: str) -> dict[str, Any]:
    """The mapping in a YAML file, which is found as `catalogue.find` finds it; raises UserError where there is none."""
    file = find(name, *kinds)
    path = short_config_path(file)
    try:
        content = yaml.load(small_text(file, LARGEST), _EachKeyOnce)
        check_size(content, MOST_IN_CONFIG)
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} is not YAML that can be used: {error}") from error
    if not isinstance(content, dict):
        found = "is empty" if content is None else f"holds {type(content).__name__}"
        raise UserError(f"{path} {found}, expected a mapping of keys to values")
    return dict(written_out(content))


def read_data(name: str | Path) -> dict[str, Any]:
    """The `data:` section of a base config; raises UserError where it does not say which data these are."""
    tree = read_yaml(name, "bases")
    if not is_base(tree):
        raise UserError(
            f"{name} has no `data:` section with a class_path; expected a base config such as configs/cifar10.yaml"
        )
    section = tree["data"]
    return {"class_path": section} if isinstance(section, str) else dict(section)


def method_arguments(name: str | Path, *kinds: str) -> dict[str, Any]:
    """What the config of a method or a teacher says of `model.init_args`; empty where it says nothing."""
    return model_arguments(read_yaml(name, *kinds))


def model_arguments(tree: dict[str, Any]) -> dict[str, Any]:
    """The same of a config that was read."""
    model = tree.get("model")
    arguments = model.get("init_args") if isinstance(model, dict) else None
    return arguments if isinstance(arguments, dict) else {}


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses equal keys, of which PyYAML silently takes the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"):
            if key.value in seen:
                raise ValueError(f"the key {key.value!r} is there twice, again in line {key.start_mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def is_base(tree: dict[str, Any]) -> bool:
    """Whether a config says which data these are; one that only changes how they are augmented does not."""
    data = tree.get("data")
    return isinstance(data, str) or (isinstance(data, dict) and "class_path" in data)


def base_and_method(configs: Sequence[str | Path]) -> list[str | Path]:
    """Of a run's configs those that it is named for: the first, and the one that names an objective, else the second."""
    methods = [path for path in configs[1:] if "objective" in method_arguments(path, *OF_A_RUN)]
    return [*configs[:1], *(methods or configs[1:])[:1]]


def check_order(configs: list[str]) -> None:
    """Raises UserError where a recipe comes before its base: the base would silently take back what the recipe set."""
    seen_recipe = ""
    for path in configs:
        names_data = is_base(read_yaml(path, *OF_A_RUN))
        if names_data and seen_recipe:
            raise UserError(
                f"-c {seen_recipe} comes before -c {path}: expected the base (with `data:`) first, recipes after"
            )
        seen_recipe = seen_recipe or ("" if names_data else path)


def check_finite(tree: Any, place: str = "") -> None:
    """Raises UserError for a number that is not finite: it is never intended, and NaN passes every comparison."""
    if isinstance(tree, float) and not math.isfinite(tree):
        raise UserError(f"{place} = {tree}: expected a finite number")
    is_namespace = type(tree).__name__ == "Namespace"  # jsonargparse's, which takes longer to import than a config to read
    branches = (vars(tree) if is_namespace else tree if isinstance(tree, dict) else {}).items()
    for key, value in enumerate(tree) if isinstance(tree, list | tuple) else branches:
        check_finite(value, f"{place}.{key}".lstrip("."))
