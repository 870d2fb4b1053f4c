"""Gradients are clipped as the optimiser sees them, in both ways of training and each precision, after the guards looked."""

import pytest
import torch
from test_guards_finite import Poison
from test_guards_float16 import Float16
from tiny import user_error

CLIP = 0.01
CLIPPED = f"--trainer.gradient_clip_val={CLIP}"


class Norms(Poison):
    """The norm of the gradients before they are clipped and as the optimiser had them; whether the weights were at home."""

    def __init__(self):
        super().__init__((-1, -1))
        self.before, self.after, self.home = [], [], []

    def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
        self.weights = [weight.detach().clone() for weight in engine.student.parameters()]

    def on_before_optimizer_step(self, trainer, engine, optimizer):  # noqa: ARG002
        self.before.append(norm(engine))
        self.home.append(all(map(torch.equal, self.weights, engine.student.parameters())))

    def on_train_batch_end(self, trainer, engine, *_):  # noqa: ARG002
        self.after.append(norm(engine))


def norm(engine):
    return float(torch.stack([p.grad.norm() for p in engine.student.parameters() if p.grad is not None]).norm())


@pytest.mark.parametrize(
    ("recipe", "precision", "options"),
    [
        ("pgd_at", "bf16-mixed", []),
        ("pgd_at", "16-mixed", []),
        ("pgd_at", "32-true", ["--model.weight_perturbation.gamma=0.05"]),
        ("fast_ard", "32-true", ["--model.replays=2", "--trainer.max_epochs=2"]),
        ("fast_ard", "16-mixed", ["--model.replays=2", "--trainer.max_epochs=2"]),
    ],
)
def test_no_step_has_a_longer_gradient(fit, tmp_path, recipe, precision, options):
    half = precision == "16-mixed"
    options = options + ([] if half else [f"--trainer.precision={precision}"])
    callbacks = [norms := Norms(), *([Float16(256.0)] if half else [])]
    fit(tmp_path, recipe, CLIPPED, *options, callbacks=callbacks)
    assert min(norms.before) > 5 * CLIP
    assert norms.after == pytest.approx([CLIP] * 2, rel=1e-3)
    assert all(norms.home) or recipe == "fast_ard"  # there a batch has more steps than one


@pytest.mark.parametrize(
    ("recipe", "options"), [("pgd_at", []), ("fast_ard", ["--model.replays=2", "--trainer.max_epochs=2"])]
)
def test_a_gradient_that_is_infinite_is_found_before_it_is_clipped(fit, tmp_path, recipe, options):
    value = "--trainer.gradient_clip_algorithm=value"  # which would make a finite number of it
    with user_error("the gradient norm is inf"):
        fit(tmp_path, recipe, CLIPPED, value, *options, callbacks=[Poison((0, 1), "gradient")])


def test_clipping_is_the_trainers_and_goes_with_it(fit, tmp_path):
    done = fit(tmp_path / "run", "free_at", CLIPPED, "--trainer.max_epochs=8")
    assert done.trainer.gradient_clip_val == CLIP
    assert done.trainer.max_epochs == 8
