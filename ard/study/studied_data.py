"""The data of a study's runs: those of its base, as its `common` keys change them."""

from collections.abc import Sequence
from typing import Any

from ard.configs.files import read_yaml
from ard.study.study_file import Study, plain_key

Section = dict[str, Any]


def studied_data(study: Study) -> Section:
    """The data of a study's runs before what recipes and conditions set: {class_path, init_args}."""
    section: Section = read_yaml(study.base, "bases").get("data") or {}
    for key, value in study.common.items():
        first, *place = plain_key(key).split(".")
        if first == "data":
            section = _changed(section, place, value)
    return {"class_path": str(section.get("class_path")), "init_args": section.get("init_args") or {}}


def innermost_data(study: Study) -> str:
    """The key of the arguments of the data set itself, where others are around it."""
    key, arguments = "data.init_args", studied_data(study)["init_args"]
    while isinstance(inner := arguments.get("base"), dict):
        key, arguments = f"{key}.base.init_args", inner.get("init_args") or {}
    return key


def _changed(section: Any, place: Sequence[str], value: Any) -> Section:
    """With another value of an argument, or of an argument's arguments; another class begins with its defaults."""
    section = section if isinstance(section, dict) else {"class_path": section}
    if not place or place == ["class_path"]:
        return value if isinstance(value, dict) else {"class_path": value}
    first, *rest = place
    arguments = section.get("init_args") or {}
    inner = _changed(arguments.get(first), rest, value) if rest else value
    return {**section, "init_args": {**arguments, first: inner}}
