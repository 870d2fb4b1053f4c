"""`--network`: the network of weights that do not say which it is, or say one that is not ours. The only option of the verbs
that take weights by which a module is imported."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from inspect import isclass, signature
from pathlib import Path
from typing import Any

from torch import nn

from ard.cli.config_files import read_yaml
from ard.cli.parsing import build
from ard.core.errors import UserError
from ard.core.suggestions import did_you_mean
from ard.core.text import first_line
from ard.models.loading import CONTRACT
from ard.models.wrappers import Network

LIBRARIES = ("torchvision", "timm")  # their model functions pass `num_classes` on without naming it


def named_network(option: str | None) -> Network | None:
    """The network that `--network` names; None without it. Raises UserError where it names none, or not a network."""
    if option is None:
        return None
    section = network_section(option)
    name = section["class_path"]
    target = _imported(name, option)
    if isclass(target):
        if not issubclass(target, nn.Module):
            raise _refusal(option, f"{name} is a class, but no nn.Module")
        if "num_classes" not in signature(target).parameters:
            raise _refusal(option, f"{name} takes no `num_classes`")
        return _built(section, option)
    if not callable(target) or not _makes_networks(target):
        raise _refusal(option, f"{name} is {_kind(target)}")
    return partial(target, **(section.get("init_args") or {}))


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
        raise _refusal(option, "it names no class_path; expected {class_path, init_args}, or a run's config.yaml")
    if not isinstance(section.get("init_args") or {}, dict):
        raise _refusal(option, f"init_args are {section['init_args']!r}; expected a mapping")
    return section


def _imported(name: str, option: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        content = import_module(module) if module else None
    except Exception as error:  # whatever the module of somebody else does when it is imported
        reason = f"cannot be imported ({type(error).__name__}: {first_line(error)}); expected a module here or installed"
        raise _refusal(option, f"{name} {reason}") from error
    if content is None:
        raise _refusal(option, f"{name!r} is no file and no class path such as mynet.Net")
    if not hasattr(content, attribute):
        raise _refusal(option, f"{module} has no {attribute!r}{did_you_mean(attribute, vars(content))}")
    return getattr(content, attribute)


def _built(section: dict[str, Any], option: str) -> Network:
    """By the parser, which knows the types of the arguments; a constructor without types is called as it is."""
    try:
        return build(Network, section)
    except UserError as error:
        if "fail_untyped" in str(error):
            return partial(_imported(section["class_path"], option), **(section.get("init_args") or {}))
        raise UserError(f"--network {option}: {error}") from error


def _makes_networks(function: Callable[..., Any]) -> bool:
    library = str(getattr(function, "__module__", "")).partition(".")[0]
    try:
        return library in LIBRARIES or "num_classes" in signature(function).parameters
    except (TypeError, ValueError):  # a function of C, which does not say
        return False


def _kind(target: Any) -> str:
    return "a function without `num_classes`" if callable(target) else f"a {type(target).__name__}"


def _refusal(option: str, reason: str) -> UserError:
    return UserError(f"--network {option}: {reason}; {CONTRACT}")
