"""The value of `--network`, read without torch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ard.artifacts.class_paths import CONTRACT
from ard.configs.files import read_yaml
from ard.core.errors import UserError

TEACHER_NETWORK = "model.init_args.teacher.init_args.network"


def network_section(option: str) -> dict[str, Any]:
    """The value of `--network` as {class_path, init_args}: a class path, a file of that, or a run's config.yaml."""
    if Path(option).suffix not in (".yaml", ".yml") and not Path(option).is_file():
        section: Any = {"class_path": option}
    else:
        tree = read_yaml(option)
        arguments = tree["model"].get("init_args", {}) if isinstance(tree.get("model"), dict) else {}
        section = arguments.get("student") if "model" in tree else tree
        section = {"class_path": section} if isinstance(section, str) else section
    if not (isinstance(section, dict) and isinstance(section.get("class_path"), str)):
        raise network_refusal(option, "it names no class_path; expected {class_path, init_args}, or a run's config.yaml")
    if not isinstance(section.get("init_args") or {}, dict):
        raise network_refusal(option, f"init_args are {section['init_args']!r}; expected a mapping")
    return section


def with_teachers_network(words: Sequence[str]) -> list[str]:
    """The words of a run in which `--network X` has become the long option for the network of the teacher's weights."""
    changed, rest = [], iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name != "--network":
            changed.append(word)
            continue
        value = value if equals else next(rest, "")
        if not value:
            raise network_refusal("", "it names nothing")
        changed.append(f"--{TEACHER_NETWORK}={json.dumps(network_section(value))}")
    return changed


def network_refusal(option: str, reason: str) -> UserError:
    return UserError(f"--network {option}: {reason}; {CONTRACT}")
