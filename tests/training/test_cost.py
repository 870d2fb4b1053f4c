"""What a run costs: the arithmetic its card tells of, and steps that never wait for the device."""

import pytest
import torch
from pytorch_lightning import Callback
from torch.utils._python_dispatch import TorchDispatchMode

from ard.artifacts.weights import read_weights
from ard.core.flops import count_flops
from ard.models import load


class Waits(TorchDispatchMode):
    """Counts how often a tensor's value was asked for: on a GPU everything would stand still until it is known."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func._overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.is_nonzero)
        return func(*args, **(kwargs or {}))


class Watched(Callback):
    """The waits of every step, from its first hook to its last."""

    def __init__(self):
        self.waits = []

    def on_train_batch_start(self, *_):
        self.mode = Waits()
        self.mode.__enter__()

    def on_train_batch_end(self, *_):
        self.mode.__exit__(None, None, None)
        self.waits.append(self.mode.count)


@pytest.mark.parametrize("recipe", ["ard", "rslad", "trades", "pgd_at_ema"])
def test_no_step_waits_for_the_device(fit, tmp_path, recipe):
    watched = Watched()
    fit(tmp_path, recipe, "--trainer.limit_train_batches=4", "--trainer.log_every_n_steps=100", callbacks=[watched])
    first, *others = watched.waits
    assert first > 0  # the range of the pixels and the labels are looked at once an epoch: so the count can see
    assert others == [0, 0, 0]


@pytest.mark.fault(68)
@pytest.mark.parametrize(
    ("recipe", "steps", "passes"), [("natural", 4, 3), ("pgd_at", 4, 3 + 2 * 7), ("pgd_at", 1, 3 + 2 * 7)]
)
def test_the_card_tells_the_arithmetic_of_the_run(fit, tmp_path, recipe, steps, passes, observed):
    """Forward, and backward for weights and inputs: three passes, and two for each of seven steps of PGD.

    Whichever step a process begins with: the look for what can be folded is no part of a step.
    """
    fit(tmp_path, recipe, f"--trainer.limit_train_batches={steps}", "--trainer.limit_val_batches=0")
    card = read_weights(tmp_path / "last.safetensors")[1]
    student, images = load(tmp_path / "last.safetensors"), torch.rand(32, 1, 8, 8)
    forward = count_flops(lambda: student(images))
    stem = count_flops(lambda: next(m for m in student.modules() if isinstance(m, torch.nn.Conv2d))(images))
    expected = (passes * forward - stem) * steps / 1e15  # nobody asks for the images' gradient in the outer backward pass
    assert card.training.pflop == pytest.approx(expected, rel=1e-3)
    observed(
        f"{recipe}, counted from its first step on, {steps} in all: {card.training.pflop:.3g} PFLOP, as computed by hand"
    )
