"""Free replays against a plain loop over the same batches, and what they refuse."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from plain_runs import FOREIGN, PLAIN, Net, loader, plain_trainer
from pytorch_lightning import Callback
from tiny import user_error

import ard
from ard.artifacts.paths import LAST
from ard.models import load

pytestmark = PLAIN
REPLAYS, EPS = 4, 0.15
FREE = [f"--model.init_args.replays={REPLAYS}", f"--trainer.max_epochs={REPLAYS}"]
DROPS = ["--model.init_args.training.schedule=multistep", "--model.init_args.training.milestones=[0.75]"]


class Record(Callback):
    """The student at the start, every batch, and how often the teacher was asked for it."""

    def __init__(self):
        self.batches, self.epochs, self.calls, self.delta = [], [], [], None

    def on_train_start(self, trainer, engine):  # noqa: ARG002
        self.student, self.delta = deepcopy(engine.student).train(), engine.delta
        if engine.teacher is not None:
            engine.teacher.register_forward_hook(lambda *_: self.calls.append(len(self.batches)))

    def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
        self.batches.append(deepcopy(batch))
        self.epochs.append(trainer.current_epoch)


def kl(target, logits):
    """30² KL between distributions at temperature 30."""
    p, q = F.log_softmax(target / 30, dim=1), F.log_softmax(logits / 30, dim=1)
    return 30**2 * (p.exp() * (p - q)).sum(dim=1).mean()


def plain_free_training(student, batches, loss, *, as_released):
    """Shafahi et al., algorithm 1, with SGD whose rate falls to a tenth after three quarters of the replays.

    As released by Wong et al. the pixels' range holds for δ, after its step, and so not for the next batch's first images.
    """
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    delta, step, last = torch.zeros_like(batches[0][0]), 0, REPLAYS * len(batches)
    for x, y in batches:
        for _ in range(REPLAYS):
            optimizer.param_groups[0]["lr"] = 0.1 if step < 0.75 * last else 0.01
            x_adv = x + delta.clamp(-EPS, EPS)
            x_adv = (x_adv if as_released else x_adv.clamp(0, 1)).requires_grad_()
            optimizer.zero_grad()
            loss(student, x_adv, x, y).backward()
            delta = (delta + EPS * x_adv.grad.sign()).clamp(-EPS, EPS)
            delta = torch.max(torch.min(delta, 1 - x), 0 - x) if as_released else delta
            optimizer.step()
            step += 1
    return student, delta


@pytest.mark.parametrize("recipe", ["free_at", "free_at-as-released", "fast_ard"])
def test_it_is_free_training(fit, tmp_path, teacher_file, recipe):
    exact = "--trainer.precision=32-true"
    engine = fit(tmp_path, recipe, *FREE, *DROPS, exact, callbacks=[record := Record()]).model
    teacher = load(teacher_file)

    def loss(student, x_adv, x, y):
        return F.cross_entropy(student(x_adv), y) if "free_at" in recipe else kl(teacher(x).detach(), student(x_adv))

    assert len(record.batches) == 2
    student, delta = plain_free_training(record.student, record.batches, loss, as_released="released" in recipe)
    torch.testing.assert_close(engine.delta, delta, rtol=0, atol=1e-6)
    torch.testing.assert_close(engine.student.state_dict(), student.state_dict(), rtol=1e-5, atol=1e-6)


def test_the_teacher_is_asked_once_a_batch(fit, tmp_path):
    record = Record()
    fit(tmp_path, "fast_ard", *FREE, "--trainer.max_epochs=8", "--trainer.check_val_every_n_epoch=2", callbacks=[record])
    validation = 1
    calls = [epoch for epoch in record.calls if epoch]  # 0: before training, whether it knows such images at all
    assert len(calls) == len(record.batches) + validation
    assert set(calls) == {1, 2, 3, 4}


def test_epochs_count_passes_of_the_student(fit, tmp_path):
    engine = fit(tmp_path, "free_at", *FREE, "--trainer.max_epochs=12", callbacks=[record := Record()]).model
    assert record.epochs == [0, 0, 1, 1, 2, 2]
    assert engine.trainer.global_step == 12 * 2


def test_the_perturbation_stays_in_the_ball(fit, tmp_path):
    delta = fit(tmp_path, "free_at", *FREE).model.delta
    assert 0 < delta.abs().max() <= EPS + 1e-7
    assert delta.unique().numel() > 2  # steps of eps in both directions, clamped


def test_the_perturbation_comes_back_with_the_checkpoint(fit, tmp_path):
    longer = [*FREE, "--trainer.max_epochs=8"]
    first = fit(tmp_path, "free_at", *longer, callbacks=[Stop()]).model
    saved = torch.load(tmp_path / f"{LAST}.ckpt", weights_only=True)["delta"]
    assert torch.equal(saved[0], first.delta)
    fit(tmp_path, "free_at", *longer, "--ckpt_path=last", callbacks=[record := Record()])
    assert record.epochs == [1, 1]
    assert torch.equal(record.delta, first.delta)


class Stop(Callback):
    """Ends the run after its first pass."""

    def on_train_epoch_end(self, trainer, engine):  # noqa: ARG002
        trainer.should_stop = True


def test_epochs_that_replays_do_not_divide_are_refused(fit, tmp_path):
    with user_error("max_epochs = 6: expected a multiple of replays = 4"):
        fit(tmp_path / "run", "free_at", *FREE, "--trainer.max_epochs=6")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["kd", "natural"])
def test_a_method_without_attack_is_refused(fit, tmp_path, recipe):
    with user_error("nothing to replay: use ard.Distillation"):
        fit(tmp_path, recipe, "--model=ard.FreeDistillation", *FREE)


def free(**options):
    return ard.FreeDistillation(**{"student": Net(), "objective": "free_at", "eps": 0.1, "replays": 2} | options)


class Breaks(Callback):
    def on_train_batch_start(self, *_):
        raise ArithmeticError("in the middle of a run")


@FOREIGN
@pytest.mark.parametrize("ends", ["well", "refused", "broken", "validated"])
def test_the_trainer_is_given_back_as_it_was(ends):
    """However a fit ends, the next one has all its epochs, and a fit of another kind has its gradients clipped."""
    trainer = plain_trainer(4, gradient_clip_val=0.01, callbacks=[Breaks()] if ends == "broken" else [])
    if ends == "well":
        trainer.fit(free(), loader(), loader(32, 1))
    elif ends == "validated":
        trainer.validate(free(), loader(32, 1), verbose=False)
    elif ends == "broken":
        with pytest.raises(ArithmeticError):
            trainer.fit(free(), loader(), loader(32, 1))
    else:
        with user_error("nowhere"):
            trainer.fit(free(objective="fast_ard", teacher="nowhere.safetensors"), loader(), loader(32, 1))
    assert (trainer.max_epochs, trainer.gradient_clip_val) == (4, 0.01)


@FOREIGN
def test_a_fit_after_one_that_was_refused_is_as_long_as_it_should_be():
    trainer = plain_trainer(4)
    with user_error("nowhere"):
        trainer.fit(free(objective="fast_ard", teacher="nowhere.safetensors"), loader(), loader(32, 1))
    trainer.fit(free(), loader(), loader(32, 1))
    assert trainer.global_step == 4 * 3


@FOREIGN
def test_steps_of_several_batches_are_refused():
    with user_error("accumulate_grad_batches = 2: each replay is a step of its own; expected 1"):
        plain_trainer(4, accumulate_grad_batches=2).fit(free(), loader(), loader(32, 1))


class Rates(Callback):
    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, trainer, module, optimizer):  # noqa: ARG002
        self.rates.append(optimizer.param_groups[0]["lr"])


@FOREIGN
@pytest.mark.parametrize("schedule", ["triangular", "one_cycle", "cosine", "multistep"])
@pytest.mark.parametrize(("epochs", "steps"), [(8, 9), (-1, 9), (-1, 14), (8, 4)])
def test_a_run_that_ends_among_the_replays_of_a_batch_ends_with_its_schedule(schedule, epochs, steps):
    module = free(replays=4, training={"schedule": schedule})
    trainer = plain_trainer(epochs, max_steps=steps, callbacks=[rates := Rates()])
    trainer.fit(module, loader(), loader(32, 1))
    assert trainer.global_step == module.optimizer_steps == len(rates.rates) == steps
    assert min(rates.rates) >= 0


@FOREIGN
def test_a_rehearsal_needs_no_number_of_epochs():
    trainer = plain_trainer(1, fast_dev_run=2)
    trainer.fit(free(replays=4), loader(), loader(32, 1))
    assert trainer.global_step == 2
