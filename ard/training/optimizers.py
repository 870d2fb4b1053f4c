"""Optimisers other than SGD: any of torch's kind that learns from one gradient a step."""

from inspect import Parameter, signature
from typing import Any, Protocol

import torch
from torch import nn

from ard.core.errors import UserError


class OptimizerFactory(Protocol):
    """Builds an optimiser from the rate and the weight decay of the training block, which a config names once."""

    def __call__(self, params: Any, *, lr: float, weight_decay: float) -> torch.optim.Optimizer: ...


def check_optimizer(factory: OptimizerFactory, lr: float, weight_decay: float) -> None:
    """Raises UserError where this is no optimiser that can train networks of any shape with one gradient a step."""
    name = _name(factory)
    if taken := {"lr", "weight_decay"} & getattr(factory, "keywords", {}).keys():
        option = min(taken)
        raise UserError(
            f"optimizer {name} has a {option} of its own: expected it in the training block, Training({option}=…)"
        )
    weights = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1, 1))]  # a bias, and a matrix
    try:
        made = factory(weights, lr=lr, weight_decay=weight_decay)
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer {name}: {error}; expected one with lr and weight_decay, such as AdamW") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(f"optimizer {name}: expected a torch.optim.Optimizer, such as AdamW")
    if signature(made.step).parameters.get("closure", _OPTIONAL).default is Parameter.empty:
        raise UserError(
            f"optimizer {name} asks for the loss several times a step: expected one that does not, such as AdamW"
        )
    if type(made) is torch.optim.SGD:
        raise UserError("optimizer SGD: expected null, which is SGD with `momentum` and `nesterov` of the training block")


def check_groups(optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimiser itself; raises UserError for a setting of a group that it would leave unread."""
    for group in groups:
        unknown = group.keys() - {"params"} - optimizer.defaults.keys()
        if unknown:
            raise UserError(
                f"the method trains weights of its own with a {min(unknown)} of their own, which {type(optimizer).__name__} "
                "does not have: expected optimizer: null, which is SGD"
            )
    return optimizer


_OPTIONAL = Parameter("closure", Parameter.KEYWORD_ONLY, default=None)


def _name(factory: Any) -> str:
    """Of the class inside, where it can be told."""
    inside = [factory, *getattr(factory, "args", ()), getattr(factory, "func", None)]
    return next((part.__name__ for part in inside if isinstance(part, type)), str(factory))
