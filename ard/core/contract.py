"""What may stand for a network in a config or an option: only that is called."""

from importlib import import_module
from inspect import isclass, signature
from typing import Any

CONTRACT = (
    "a network is an nn.Module subclass, a function that names `num_classes` among its parameters, "
    "or a model function of torchvision or timm"
)
LIBRARIES = {"torchvision": "torchvision.models", "timm": "timm"}  # where each has its `list_models`


def makes_networks(target: Any) -> bool:
    """Whether a function is one of CONTRACT; nothing is called to find out."""
    if isclass(target) or not callable(target):
        return False
    try:
        return "num_classes" in signature(target).parameters or _is_listed(target)
    except (TypeError, ValueError):  # a function of C, which does not say
        return False


def _is_listed(function: Any) -> bool:
    """Among the models of its library, whose functions pass `num_classes` on without naming it."""
    name, module = str(getattr(function, "__name__", "")), str(getattr(function, "__module__", ""))
    library = module.partition(".")[0]
    if library not in LIBRARIES or not module.startswith(f"{library}.models."):
        return False
    return name in import_module(LIBRARIES[library]).list_models()
