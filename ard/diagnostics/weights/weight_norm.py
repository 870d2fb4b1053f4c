"""The norm of the weights."""

from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.inspected import Inspected


@diagnostic(
    tells="how large the weights are, which weight decay keeps small",
    cannot="say anything of the function: the weights before a BatchNorm can be made larger or smaller at will",
    source="arXiv:1910.00359",
    runs="always",
)
def weight_norm(of: Inspected) -> Found:
    """‖θ‖₂ of the weights (tensors of two dimensions or more) and of all parameters, and of each tensor of weights."""
    squares = {name: float(p.detach().double().square().sum()) for name, p in of.student.named_parameters()}
    weights = [name for name, p in of.student.named_parameters() if p.ndim > 1]
    values = {
        "weights": sum(squares[name] for name in weights) ** 0.5,
        "all parameters": sum(squares.values()) ** 0.5,
    }
    return Found(values=values, layers={name: {"norm": squares[name] ** 0.5} for name in weights}, n=0)
