"""The cascade: every attack on every block of images, and for each image whether the model was right."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ard.attacks import Ball, frozen_mode
from ard.core.errors import UserError
from ard.core.float32 import whole_float32
from ard.core.logits import check_logits
from ard.core.randomness import keyed_generator
from ard.core.same_bits import copied, same_bits, tensors_of
from ard.evaluation.adversaries import Adversary
from ard.losses import margin

BLOCK = 100  # images on a CPU; fixed, so that a verdict depends neither on batching nor on sharding
ON_GPU = 500  # of 32×32, fewer of larger ones: 100 are over before the next kernel is launched
RECHECK = 37  # images a batch when verdicts are recomputed: any number that is not BLOCK

Tensors = dict[str, Tensor]
T = TypeVar("T")


@dataclass
class Block:
    """The results for a block of images from `start` on; `facts[name]` has those of every adversary that has run."""

    start: int
    correct: Tensors = field(default_factory=dict)  # by adversary, "clean" first: the model was right, (n,) booleans
    facts: dict[str, dict[str, float]] = field(default_factory=dict)
    moved: Tensor | None = None  # (n,) booleans: some attack moved the image by a tenth of eps
    x_adv: Tensor | None = None  # the image that fooled the model, else the attempt that came closest to it
    whole: bool = False

    def to(self, device: torch.device) -> "Block":
        """With every tensor on the device."""
        self.correct = {name: bits.to(device) for name, bits in self.correct.items()}
        for name in ("moved", "x_adv"):
            value = getattr(self, name)
            setattr(self, name, value if value is None else value.to(device))
        return self

    def fits(self, x: Tensor) -> bool:
        """Whether it is of such images (n, C, H, W): a verdict for each, clean ones first, and facts of every attack."""
        bits = [*self.correct.values(), self.moved]
        facts = [self.facts.get(name) for name in self.correct] if isinstance(self.facts, dict) else [None]
        return (
            next(iter(self.correct), "") == "clean"
            and all(part is not None and part.dtype == torch.bool and part.shape == x.shape[:1] for part in bits)
            and all(isinstance(fact, dict) and all(isinstance(n, int | float) for n in fact.values()) for fact in facts)
            and self.x_adv is not None
            and (self.x_adv.dtype, self.x_adv.shape) == (x.dtype, x.shape)
        )

    @property
    def worst(self) -> Tensor:
        """Per image: right on the clean image and after every attack that is no probe."""
        return torch.stack([bits for name, bits in self.correct.items() if not self.facts[name].get("probe")]).all(dim=0)


def block_sizes(x: Tensor) -> list[int]:
    """How many of these images (n, C, H, W) are attacked at once, and how many where memory does not suffice for that."""
    most = ON_GPU * 32 * 32 // x[0, 0].numel() if x.is_cuda else BLOCK
    sizes = [max(BLOCK, min(ON_GPU, most))]
    while sizes[-1] > BLOCK:
        sizes.append(max(BLOCK, sizes[-1] // 2))
    return sizes


def as_memory_allows(attempt: Callable[[int], T], x: Tensor) -> T:
    """attempt(size) with the largest of block_sizes(x) that a GPU has memory for; raises UserError where it has for none."""
    for size in block_sizes(x):
        with suppress(torch.OutOfMemoryError):
            return attempt(size)
        torch.cuda.empty_cache()  # here, where nothing holds the tensors of the attempt any more
    raise UserError(
        f"{x.device} has no memory to attack {size} images at once; expected one with more, "
        "or the CPU: set CUDA_VISIBLE_DEVICES to nothing"
    )


Keep = Callable[[Block], None]  # stores a block for a later process
Finish = Callable[[Tensor, Tensor, Ball], Tensor]  # attacked images, the clean ones, their ball -> images that are judged


def judge_block(
    model: nn.Module,
    others: Sequence[nn.Module],
    x: Tensor,
    y: Tensor,
    adversaries: Sequence[Adversary],
    *,
    seed: int,
    block: Block,
    keep: Keep,
    finish: Finish | None = None,
) -> Block:
    """Attack x (n, C, H, W) in [0, 1] with the adversaries that `block` has no results of; `keep` is called after each.

    `others` are the networks that adversaries call besides the model; `finish` is done to all that they find.

    Raises UserError where the model does not return one logit a class for each image.
    """
    with evaluation_mode(model, *others) as touched:
        if not block.correct:
            _begin(block, model, x, y)
            keep(block)
        for adversary in adversaries:
            if adversary.name not in block.correct:
                _attack(block, adversary, model, x, y, seed, finish)
                keep(block)
        if not block.whole:
            _recheck(block, model, x, y)
    block.facts["clean"]["touched"] = touched() or block.facts["clean"].get("touched", False)
    block.whole = True
    keep(block)
    return block


@contextmanager
def evaluation_mode(*models: nn.Module) -> Iterator[Callable[[], bool]]:
    """Models in eval mode, frozen, in float32, random state restored; yields a function: has a model changed?

    A change is one of a parameter, buffer, gradient or mode, or of a random state that was to be restored.
    """
    tensors, rest = copied(tensors_of(*models)), _modes_and_random_states(models)
    with ExitStack() as stack:
        stack.enter_context(frozen_mode(*models))
        for device in ("cpu", "cuda"):
            stack.enter_context(torch.autocast(device, enabled=False))
        stack.enter_context(whole_float32())
        yield lambda: rest != _modes_and_random_states(models) or not same_bits(tensors, tensors_of(*models))


def _modes_and_random_states(models: Sequence[nn.Module]) -> tuple[bytes, ...]:
    """The modes of all modules, and the random states of the CPU and of the GPUs that hold parameters: the restored ones."""
    parameters = (parameter for model in models for parameter in model.parameters())
    devices = sorted({parameter.device.index for parameter in parameters if parameter.is_cuda})
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in devices)]
    modes = bytes(module.training for model in models for module in model.modules())
    return (modes, *(state.numpy().tobytes() for state in states))


@torch.no_grad()
def predict(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The predicted class of each image, and whether its logits are finite."""
    return _read(_logits(model, x))


@torch.no_grad()
def _logits(model: nn.Module, x: Tensor) -> Tensor:
    return check_logits(model(x), len(x), "the model")


def _read(logits: Tensor) -> tuple[Tensor, Tensor]:
    return logits.argmax(dim=1), logits.isfinite().all(dim=1)


def _begin(block: Block, model: nn.Module, x: Tensor, y: Tensor) -> None:
    start = time.monotonic()
    predicted, finite = predict(model, x)
    block.correct["clean"] = predicted == y
    block.x_adv, block.moved = x.clone(), torch.zeros_like(block.correct["clean"])
    block.facts["clean"] = {"broken": int((~finite).sum()), "seconds": time.monotonic() - start}


def _attack(
    block: Block, adversary: Adversary, model: nn.Module, x: Tensor, y: Tensor, seed: int, finish: Finish | None
) -> None:
    start = time.monotonic()
    correct = block.correct["clean"].clone()
    for name in adversary.after:
        correct &= block.correct[name]
    remaining = correct.nonzero().squeeze(1)
    remaining = remaining[(block.start + remaining) % adversary.every == 0]
    facts: dict[str, Any] = {"attacked": len(remaining), "probe": adversary.probe}
    if len(remaining):
        generator = keyed_generator(x.device, adversary.name, seed, block.start)
        x_adv = adversary(model, x[remaining], y[remaining], generator).detach()
        if finish is not None and adversary.ball is not None:
            x_adv = finish(x_adv, x[remaining], adversary.ball)
        logits = _logits(model, x_adv)
        predicted, finite = _read(logits)
        facts |= _measured(adversary, x_adv, x[remaining], finite)
        withstood = predicted == y[remaining]
        if not adversary.probe:
            assert block.x_adv is not None
            moved = (x_adv != x[remaining]).flatten(1).any(dim=1)  # some attacks give the image back where they fail
            before = margin(_logits(model, block.x_adv[remaining]), y[remaining])
            closer = moved & (margin(logits, y[remaining]) >= before)
            _remember(block, adversary, x_adv, x, remaining, ~withstood | closer)
        correct[remaining] = withstood
    block.correct[adversary.name] = correct
    block.facts[adversary.name] = {**facts, "seconds": time.monotonic() - start}


def _measured(adversary: Adversary, x_adv: Tensor, x: Tensor, finite: Tensor) -> dict[str, float]:
    facts = {
        "broken": int((~(finite & x_adv.isfinite().flatten(1).all(dim=1))).sum()),
        "outside": max(0.0, float(-x_adv.min()), float(x_adv.max() - 1)),
    }
    if adversary.ball is not None:
        facts["distance"] = float(adversary.ball.distance(x_adv - x).max())
        facts["reach"] = adversary.ball.eps
    return facts


def _remember(block: Block, adversary: Adversary, x_adv: Tensor, x: Tensor, remaining: Tensor, better: Tensor) -> None:
    """Keep what came closer to the boundary, of images not yet misclassified, and note which were moved at all."""
    assert block.x_adv is not None
    assert block.moved is not None
    assert adversary.ball is not None
    fresh = block.worst[remaining] & better
    block.x_adv[remaining[fresh]] = x_adv[fresh]
    far = adversary.ball.distance(x_adv - x[remaining]) > max(1e-6, 0.1 * adversary.ball.eps)
    block.moved[remaining] |= far


def _recheck(block: Block, model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Recompute the verdicts from the kept adversarial images and the clean ones, in batches of another size."""
    assert block.x_adv is not None
    again = torch.cat([predict(model, part)[0] for part in block.x_adv.split(RECHECK)]) == y
    clean = torch.cat([predict(model, part)[0] for part in x.split(RECHECK)]) == y
    block.facts["clean"]["changed"] = int((again != block.worst).sum())
    block.facts["clean"]["robust_but_wrong"] = int((block.worst & ~clean).sum())
