"""M1, M3–M8: is the model in the right state to be evaluated?"""

import sys
from contextlib import ExitStack
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ard.attacks import ascent
from ard.core.float32 import is_whole_float32
from ard.evaluation.cascade import BLOCK, evaluation_mode
from ard.evaluation.checks.evidence import Evidence
from ard.evaluation.checks.result import CheckResult, at_most, check, holds

DYNAMIC = {torch.autograd.grad.__code__, torch.autograd.backward.__code__}


@check("M1", first="quick")
def eval_mode(e: Evidence) -> CheckResult:
    """M1 (fail): no module is in train mode after eval() was called."""
    with evaluation_mode(e.model), torch.no_grad():
        e.model(e.sample[0])  # which may itself switch modes
        training = sum(module.training for module in e.model.modules())
    return at_most(training, "modules in train mode while evaluated", fail=0)


@check("M3", first="quick")
def logits(e: Evidence) -> CheckResult:
    """M3 (fail): the outputs are not probabilities, that is within 1e-5 non-negative and of sum 1."""
    output = e.logits()
    in_range = bool(output.min() >= -1e-5 and output.max() <= 1 + 1e-5)
    probabilities = in_range and bool((output.sum(dim=1) - 1).abs().max() <= 1e-5)
    return holds(not probabilities, "the model returns logits, not probabilities")


class _Dtypes(TorchDispatchMode):
    """Notes the floating types of what every operation returns, functional ones included."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        self.seen.update(part.dtype for part in tree_leaves(output) if isinstance(part, Tensor) and part.is_floating_point())
        return output


@check("M4", first="quick")
def float32(e: Evidence) -> CheckResult:
    """M4 (fail): pixels, parameters and what every operation returns are float32, without autocast or TF32; float64 is
    allowed inside a module, not as its output.
    """
    dtypes = {e.x.dtype, *(p.dtype for p in e.model.parameters() if p.is_floating_point())}

    def note(_: nn.Module, __: Any, output: Any) -> None:
        dtypes.update([output.dtype] if isinstance(output, Tensor) and output.is_floating_point() else [])

    with ExitStack() as hooks, _Dtypes() as inside:
        for module in e.model.modules():
            hooks.enter_context(module.register_forward_hook(note))
        e.logits()
    dtypes |= inside.seen - {torch.float64}
    with evaluation_mode(e.model):
        lowered = torch.is_autocast_enabled(e.x.device.type) or not is_whole_float32()
    return holds(dtypes == {torch.float32} and not lowered, "everything is computed in float32")


@check("M5", first="quick")
def differentiable(e: Evidence) -> CheckResult:
    """M5 (fail): logits depend on the pixels through the graph, outside inference mode."""
    with evaluation_mode(e.model):
        _, gradient = ascent(lambda x: e.model(x).sum(dim=1), e.sample[0])
    return holds(not gradient.is_inference(), "logits have a gradient with respect to the pixels")


@check("M6", first="quick")
def static(e: Evidence) -> CheckResult:
    """M6 (warn): the forward pass calls no autograd: a defence that optimises at inference needs attacks adapted to it."""
    calls = 0

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code in DYNAMIC

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        e.logits()
    finally:
        sys.setprofile(before)
    return at_most(calls, "calls of autograd inside one forward pass", warn=0)


@check("M7", first="quick")
def whole_levels(e: Evidence) -> CheckResult:
    """M7 (fail): clean pixels are multiples of 1/255 within 1e-3/255: nothing normalised or augmented them."""
    levels = (e.x * 255 - (e.x * 255).round()).abs().max()
    return at_most(float(levels), "distance of clean pixels from whole multiples of 1/255", fail=1e-3)


@check("M8", first="full")
def unsaturated(e: Evidence) -> CheckResult:
    """M8 (warn): at most 1 % of images get a probability above 1 − 1e-6, where cross entropy has no gradient left."""
    with evaluation_mode(e.model), torch.no_grad():
        highest = torch.cat([e.model(part).double().softmax(dim=1).amax(dim=1) for part in e.x.split(BLOCK)])
    share = float((highest > 1 - 1e-6).double().mean())
    return at_most(share, "share of images whose probability is saturated", warn=0.01)
