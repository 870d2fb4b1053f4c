"""The value of `--network`, read without torch."""

import os
from pathlib import Path
from typing import Any

from ard.configs.files import read_yaml
from ard.core.contract import CONTRACT
from ard.core.errors import UserError


def network_section(option: str) -> dict[str, Any]:
    """The value of `--network` as {class_path, init_args}: a class path, a file of that, or a run's config.yaml."""
    if not option:
        raise network_refusal("", "it names nothing")
    if Path(option).suffix not in (".yaml", ".yml") and not os.path.isfile(option):
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


def network_refusal(option: str, reason: str) -> UserError:
    return UserError(f"--network {option}: {reason}; {CONTRACT}")
