"""M2, O21: is one image given one answer, whatever the way in which it is asked for?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ard.attacks import Ball
from ard.evaluation.cascade import evaluation_mode
from ard.evaluation.checks.evidence import Evidence
from ard.evaluation.checks.result import CheckResult, at_most, by_chance, check, skipped
from ard.evaluation.eight_bits import of_eight_bits, on_levels
from ard.evaluation.recorded_calls import answers_of, distance, in_parts

Ask = Callable[[nn.Module, Tensor], Tensor]
ALONE = 8  # images that are asked for one by one


@check("M2", first="quick")
def one_answer(e: Evidence) -> CheckResult:
    """M2 (fail): an image gets the same logits in every call: several times, with and without a gradient, under no_grad,
    enable_grad and inference mode, alone, in small batches, in another order, after other images, from other layouts of
    memory, in a copy made before the first call, and what the attacks saw, asked for again. The largest L2 distance between
    normalised logits is at most 1e-4.
    """
    x = e.sample[0]
    first = e.logits()
    apart = {name: _from(first, ask, e.model, x) for name, ask in _ways().items()}
    with torch.no_grad(), evaluation_mode(e.model):
        apart["again"] = distance(first, e.model(x))
    copied = e.copies.fresh()
    with evaluation_mode(copied):
        apart["in a copy made before the first call"] = distance(first, answers_of(copied, x))
    seen = e.verdicts.largest("clean", "answers")
    apart["where an attack asked for it"] = seen if seen > 1e-4 else 0.0  # an interrupted evaluation has seen fewer
    worst = max(apart, key=lambda name: apart[name])
    reason = "how far normalised logits differ between calls" + (f", most {worst}" if apart[worst] > 0 else "")
    return at_most(apart[worst], reason + ("" if e.copies.possible else "; the model cannot be copied"), fail=1e-4)


@check("O21", first="quick")
def robust_on_the_levels(e: Evidence) -> CheckResult:
    """O21 (fail): on levels of 8 bits, still in the ball, the attempts on images that withstood fool an untouched copy no
    more often than by chance (0.5 % of them), and half a level to either side of a clean image the logits are what lies
    between. Attempts on images that are not of 8 bits themselves stay as they are.
    """
    x, y = e.sample
    with evaluation_mode(e.model), torch.no_grad():
        noise = (2.0 * torch.randint(2, x.shape, generator=torch.Generator().manual_seed(e.seed)) - 1).to(x) / 510
        between = (e.model(x + noise) + e.model(x - noise)) / 2
        bend = (between - e.model(x)).norm(dim=1) / e.model(x).norm(dim=1).clamp_min(1e-12)
    jumps = int((bend > 0.2).sum())
    if jumps > by_chance(len(y), 0.005):
        return at_most(jumps, "images whose logits jump where a pixel moves by half a level", fail=by_chance(len(y), 0.005))
    worst = e.verdicts.worst
    if not worst.any() or not e.ball.eps:
        return skipped("no image withstood every attack")
    copied, fooled = e.copies.fresh(), 0
    with evaluation_mode(copied):
        for places in in_parts(worst.nonzero().squeeze(1)):
            here = places.to(e.x.device)
            rounded = _rounded(e.verdicts.x_adv[places].to(e.x.device), e.x[here], e.ball)
            fooled += int((answers_of(copied, rounded).argmax(dim=1) != e.y[here.to(e.y.device)]).sum())
    reason = "images that withstood every attack, but not their closest attempt on levels of 8 bits"
    return at_most(fooled, reason, fail=by_chance(int(worst.sum()), 0.005))


def _rounded(tried: Tensor, x: Tensor, ball: Ball) -> Tensor:
    """On levels of 8 bits where the image is; else as it is."""
    return torch.where(of_eight_bits(x).view(-1, 1, 1, 1), on_levels(tried, x, ball), tried)


def _from(first: Tensor, ask: Ask, model: nn.Module, x: Tensor) -> float:
    with evaluation_mode(model):  # one guard around each: it puts the random state back
        try:
            return distance(first[: len(answer := ask(model, x).detach())], answer)
        except torch.OutOfMemoryError:  # is one, and says nothing about the network
            raise
        except RuntimeError:  # a network may refuse inference mode, or a layout; the attacks use neither
            return 0.0


def _ways() -> dict[str, Ask]:
    """Ways to ask for the logits of the same images."""
    still, graded = torch.no_grad(), torch.enable_grad()
    return {
        "when called twice": still(lambda model, x: (model(x), model(x))[1]),
        "when called five times": still(lambda model, x: [model(x) for _ in range(5)][-1]),
        "with a gradient": graded(lambda model, x: model(x.clone().requires_grad_())),
        "under enable_grad": graded(lambda model, x: model(x)),
        "under inference mode": lambda model, x: _inferred(model, x).clone(),
        "of a view": graded(lambda model, x: model(x.clone().requires_grad_() + 0)),
        "alone": lambda model, x: _batches(model, x[:ALONE], 1),
        "in small batches": lambda model, x: _batches(model, x, 7),
        "alone with a gradient": lambda model, x: _alone(model, x[:ALONE]),
        "in another order": still(lambda model, x: model(x.flip(0)).flip(0)),
        "beside other images": still(lambda model, x: model(torch.cat([x, 1 - x]))[: len(x)]),
        "after other images": still(lambda model, x: (model(1 - x), model(x))[1]),
        "with channels last": still(lambda model, x: model(x.contiguous(memory_format=torch.channels_last))),
        "from strided memory": still(lambda model, x: model(x.transpose(2, 3).contiguous().transpose(2, 3))),
        "with parameters that need a gradient": _unfrozen,
    }


@torch.inference_mode()
def _inferred(model: nn.Module, x: Tensor) -> Tensor:
    return model(x)


@torch.enable_grad()
def _alone(model: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([model(one.clone().requires_grad_()) for one in x.split(1)])


@torch.no_grad()
def _batches(model: nn.Module, x: Tensor, size: int) -> Tensor:
    return torch.cat([model(part) for part in x.split(size)])


@torch.no_grad()
def _unfrozen(model: nn.Module, x: Tensor) -> Tensor:
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad and parameter.is_floating_point()]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        return model(x)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
