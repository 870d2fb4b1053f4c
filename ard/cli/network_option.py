"""`--network`: the network of weights that do not say which it is, or say one that is not ours. The only option of the verbs
that take weights by which a module is imported."""

from functools import partial
from importlib import import_module
from inspect import isclass, signature
from typing import Any

from torch import nn

from ard.cli.network_section import network_refusal, network_section
from ard.configs.building import build
from ard.core.contract import makes_networks
from ard.core.errors import UserError
from ard.core.suggestions import did_you_mean
from ard.core.text import first_line
from ard.models.wrappers import Network


def named_network(option: str | None) -> Network | None:
    """The network that `--network` names; None without it. Raises UserError where it names none, or not a network."""
    if option is None:
        return None
    section = network_section(option)
    name = section["class_path"]
    target = _imported(name, option)
    if isclass(target):
        if not issubclass(target, nn.Module):
            raise network_refusal(option, f"{name} is a class, but no nn.Module")
        if "num_classes" not in signature(target).parameters:
            raise network_refusal(option, f"{name} takes no `num_classes`")
        return _built(section, option)
    if not makes_networks(target):
        raise network_refusal(option, f"{name} is {_kind(target)}")
    return partial(target, **(section.get("init_args") or {}))


def _imported(name: str, option: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        content = import_module(module) if module else None
    except Exception as error:  # whatever the module of somebody else does when it is imported
        reason = f"cannot be imported ({type(error).__name__}: {first_line(error)}); expected a module here or installed"
        raise network_refusal(option, f"{name} {reason}") from error
    if content is None:
        raise network_refusal(option, f"{name!r} is no file and no class path such as mynet.Net")
    if not hasattr(content, attribute):
        raise network_refusal(option, f"{module} has no {attribute!r}{did_you_mean(attribute, vars(content))}")
    return getattr(content, attribute)


def _built(section: dict[str, Any], option: str) -> Network:
    """By the parser, which knows the types of the arguments; a constructor without types is called as it is."""
    try:
        return build(Network, section)
    except UserError as error:
        if "fail_untyped" in str(error):
            return partial(_imported(section["class_path"], option), **(section.get("init_args") or {}))
        raise UserError(f"--network {option}: {error}") from error


def _kind(target: Any) -> str:
    return "a function without `num_classes`" if callable(target) else f"a {type(target).__name__}"
