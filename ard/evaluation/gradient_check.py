"""Are gradients right? What autograd says, held against differences of the logits."""

import torch
from torch import Tensor

from ard.core.randomness import keyed_generator
from ard.evaluation.cascade import evaluation_mode
from ard.evaluation.recorded_calls import Copies, RecordedCall, answers_of, called_with, joined

DIRECTIONS = 3
COARSE = 3  # errors of float32 differences count a third: kinks of a ReLU lie within their step
WRONG = 0.1  # relative error: honest gradients are within 1e-5 of float64 differences, 99 % within 0.1 of float32 ones
STEPS = {torch.float64: 1e-6, torch.float32: 2e-4}
GROSS_ERROR = 0.6  # of an error at a point where an honest network may have a kink, such as equal pixels under a max-pool
MOST_GROSS = 0.2
LEAST_GRADIENT = 1e-12  # a saturated cross entropy pulls at nothing, which is said elsewhere


def gradient_errors(copies: Copies, seen: list[RecordedCall], seed: int = 0) -> Tensor:
    """Of each gradient that was seen the relative error, (rows,): the largest of three.

    * How far it is from the gradient that an untouched copy gives at the same point.
    * How far that copy's gradient is from differences, at a point moved off every kink (by half a percent of the range).
    * How far it is itself from differences, where that is more than GROSS_ERROR in more than MOST_GROSS of the rows.
    """
    whole = [one for one in seen if one.gradient is not None and one.logits_gradient is not None]
    if not whole:
        return torch.zeros(0)
    rows = joined(whole)
    assert rows.logits_gradient is not None
    assert rows.gradient is not None
    used = rows.logits_gradient.abs().amax(dim=1) > LEAST_GRADIENT
    if not used.any():
        return torch.zeros(0)
    x, logits, logits_gradient, gradient = (
        part[used] for part in (rows.x, rows.logits, rows.logits_gradient, rows.gradient)
    )
    size = logits_gradient.abs().amax(dim=1, keepdim=True)
    logits_gradient, gradient = logits_gradient / size, (gradient.flatten(1) / size).view_as(x)
    generator = keyed_generator("cpu", "differences", seed)
    model = copies.fresh()
    with evaluation_mode(model):
        again = called_with(model, x, logits_gradient)
        moved = 0.01 + 0.98 * x + 0.01 * (torch.rand(x.shape, generator=generator).to(x.device) - 0.5)
        aside = called_with(model, moved, logits_gradient)
    assert again.gradient is not None
    errors = _apart(gradient, again.gradient).maximum(differences(copies, aside, generator))
    own = differences(copies, RecordedCall(x, logits, logits_gradient, gradient), generator)
    gross = own > GROSS_ERROR
    return errors.maximum(torch.where(gross, own, 0.0)) if gross.double().mean() > MOST_GROSS else errors


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """‖a − b‖ / max(‖a‖, ‖b‖), row by row."""
    a, b = a.flatten(1).double(), b.flatten(1).double()
    scale = a.norm(dim=1).maximum(b.norm(dim=1))
    return ((a - b).norm(dim=1) / scale.clamp_min(1e-300)).nan_to_num(nan=torch.inf)


def differences(copies: Copies, seen: RecordedCall, generator: torch.Generator) -> Tensor:
    """How far the promised slopes are from the measured ones: along each direction they must lie between those to the two
    sides, which differ at a kink. In float64, or in float32 with a larger step where the network does not run in float64.
    """
    assert seen.logits_gradient is not None
    assert seen.gradient is not None
    model = copies.in_float64(seen.x, seen.logits)
    dtype = torch.float32 if model is None else torch.float64
    model, step = model or copies.fresh(), STEPS[dtype]
    x, logits_gradient = seen.x.to(dtype), seen.logits_gradient.double()
    claims, lows, highs = [], [], []
    with evaluation_mode(model):
        here = answers_of(model, x)
        for _ in range(DIRECTIONS):
            direction = 2.0 * torch.randint(2, x.shape, generator=generator).to(x) - 1
            up, down = ((answers_of(model, x + by * direction) - here).double() / by for by in (step, -step))
            sides = torch.stack([(logits_gradient * up).sum(dim=1), (logits_gradient * down).sum(dim=1)])
            claims.append((seen.gradient * direction).flatten(1).double().sum(dim=1))
            lows.append(sides.amin(dim=0))
            highs.append(sides.amax(dim=0))
    errors = _outside(*(torch.stack(part) for part in (claims, lows, highs)))
    return errors if dtype == torch.float64 else errors / COARSE


def _outside(claim: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far claims (directions, n) lie outside [low, high], relative to claims and slopes; at least 1 at a jump."""
    middle = (low + high) / 2
    scale = middle.norm(dim=0).maximum(claim.norm(dim=0))
    beyond = ((low - claim).clamp_min(0) + (claim - high).clamp_min(0)).norm(dim=0)
    jump = ((high - low) > 10 * scale).any(dim=0)
    return (beyond / scale.clamp_min(1e-300)).nan_to_num(nan=torch.inf).maximum(jump.double())
