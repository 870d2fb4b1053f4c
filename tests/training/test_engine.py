"""Laws of a training run: who learns, who does not, and what is drawn from what."""

from copy import deepcopy
from functools import partial
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback
from tiny import user_error
from torch import nn

from ard.artifacts.metrics import read_metrics
from ard.artifacts.weights import read_weights
from ard.attacks import PGD, Linf
from ard.cli.lightning import DryRun
from ard.data import to_pixels
from ard.models import load
from ard.objectives.base import Step
from ard.objectives.natural import Natural
from ard.training.distillation import Distillation
from ard.training.engine import Engine
from ard.training.schedule import Training


class Watch(Callback):
    """Keeps what the run looked like before and during training."""

    def __init__(self):
        self.losses, self.teacher_modes, self.dtypes = [], [], []

    def on_train_start(self, trainer, engine):
        self.student = deepcopy(engine.student)
        self.average = deepcopy(engine.average)
        engine.student.head.register_forward_hook(
            lambda _, __, out: self.dtypes.append((trainer.training, out.dtype, len(out)))
        )
        if engine.teacher is not None:
            network = engine.teacher._held[0]
            network.register_forward_hook(lambda *_: self.teacher_modes.append({m.training for m in network.modules()}))

    def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
        self.batch = batch


class Disturb(Callback):
    """Draws from the global generator, as other people's code does."""

    def on_train_batch_start(self, *_):
        torch.rand(7)

    def on_train_batch_end(self, *_):
        torch.rand(3)


class Dropped(nn.Sequential):
    """A student whose forward draws random numbers in train mode."""

    def __init__(self, *, num_classes):
        super().__init__(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, num_classes))


class Looking(Natural):
    """Looks at the student after each step."""

    seen: ClassVar = []

    def after_step(self, terms, student):
        modes = {module.training for module in student.modules()}
        learns = {parameter.requires_grad for parameter in student.parameters()}
        self.seen.append((sorted(terms), modes, learns, deepcopy(student.state_dict())))


class Shown(Callback):
    """What the objective was told of each batch, and what the batch held."""

    def __init__(self):
        self.steps, self.batches = [], []

    def on_train_batch_end(self, trainer, engine, outputs, batch, batch_idx):  # noqa: ARG002
        self.steps.append(engine.objective.step)
        self.batches.append(batch)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def weights(engine):
    return engine.student.state_dict()


@pytest.mark.parametrize("recipe", ["ard", "fast_ard", "kd"])
def test_the_teacher_speaks_and_never_learns(fit, tmp_path, teacher_file, recipe):
    replays = ["--model.init_args.replays=1"] if recipe == "fast_ard" else []
    engine = fit(tmp_path, recipe, *replays, callbacks=[watch := Watch()]).model
    held = engine.teacher._held[0]
    assert equal(held.state_dict(), load(teacher_file).state_dict())
    assert len(watch.teacher_modes) > 2
    assert all(modes == {False} for modes in watch.teacher_modes)
    hidden = {id(parameter) for parameter in held.parameters()}
    optimised = {
        id(p) for optimizer in engine.trainer.optimizers for group in optimizer.param_groups for p in group["params"]
    }
    assert hidden & optimised == hidden & {id(parameter) for parameter in engine.parameters()} == set()
    assert optimised == {id(parameter) for parameter in engine.student.parameters()}
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert set(checkpoint) == {f"student.{name}" for name in weights(engine)}


@pytest.mark.parametrize(("mode", "forwards"), [("eval", 1), ("train", 1 + 7)])
def test_an_attack_moves_batch_norm_only_in_train_mode(fit, tmp_path, mode, forwards):
    """PGD-AT on digits attacks with seven steps and then trains with one forward pass."""
    engine = fit(tmp_path, "pgd_at", f"--model.init_args.attack_mode={mode}").model
    counts = {int(value) for name, value in weights(engine).items() if name.endswith("num_batches_tracked")}
    assert counts == {2 * forwards}


class Asleep(Callback):
    """Leaves everything in eval mode, as loading and validating do; Lightning keeps it so."""

    def on_train_start(self, trainer, engine):  # noqa: ARG002
        engine.eval()


def test_the_student_trains_in_train_mode_however_it_came(fit, tmp_path):
    counts = weights(fit(tmp_path, "pgd_at", callbacks=[Asleep()]).model)
    assert {int(value) for name, value in counts.items() if name.endswith("num_batches_tracked")} == {2}


def test_every_method_starts_from_the_same_student(command, tmp_path):
    def start(recipe, seed):
        return weights(DryRun(command(tmp_path, recipe, f"--seed_everything={seed}")).model)

    first = start("natural", 3)
    assert all(equal(first, start(recipe, 3)) for recipe in ("pgd_at_ema", "ard", "fast_ard"))
    assert not equal(first, start("natural", 4))


def test_the_start_does_not_depend_on_what_was_drawn_before_and_disturbs_nothing():
    """Such as the parameters of an objective with a network of its own."""

    def start(seed):
        parts = {"threat": Linf(eps=0.1), "attack": PGD, "val_attack": PGD, "training": Training(), "num_classes": 10}
        return weights(Distillation(student=Dropped, objective=Natural(), seed=seed, **parts))

    torch.manual_seed(1)
    first, drawn = start(0), torch.rand(3)
    assert equal(first, start(0))
    assert not equal(first, start(1))
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))


def test_label_smoothing_reaches_the_loss(fit, tmp_path):
    few = [
        "--trainer.limit_train_batches=1",
        "--model.init_args.training.label_smoothing=0.3",
        "--trainer.precision=32-true",
    ]
    fit(tmp_path, "natural", *few, callbacks=[watch := Watch()])
    x, y = watch.batch
    expected = F.cross_entropy(watch.student.train()(x), y, label_smoothing=0.3).item()
    assert float(read_metrics(tmp_path / "metrics.csv")[0]["train/ce"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("recipe", ["pgd_at", "ard"])
def test_a_seed_says_everything(fit, tmp_path, recipe):
    """Crops, attack starts and dropout too, whatever else draws from the global generator; only the seed matters."""
    options = ["--model.init_args.student.class_path=test_engine.Dropped", "--data.init_args.crop_padding=1"]
    first = fit(tmp_path / "a", recipe, *options, student=[]).model
    again = fit(tmp_path / "b", recipe, *options, student=[], callbacks=[Disturb()]).model
    assert equal(weights(first), weights(again))
    same_start = [*options, f"--model.init_args.init={tmp_path / 'a' / 'last.safetensors'}"]
    ends = [
        weights(fit(tmp_path / f"{seed}", recipe, *same_start, f"--seed_everything={seed}", student=[]).model)
        for seed in (0, 1)
    ]
    assert not equal(*ends)


def test_an_objective_is_told_of_every_step_and_which_images_it_shows(fit, tmp_path):
    options = ["--model.init_args.training.schedule=multistep", "--model.init_args.training.milestones=[0.5]"]
    options += ["--trainer.max_epochs=2", "--model.init_args.training.label_smoothing=0.1", "--trainer.precision=32-true"]
    engine = fit(tmp_path, "pgd_at", *options, callbacks=[shown := Shown()]).model
    told = [(step.epoch, step.batch, step.progress, step.lr_factor) for step in shown.steps]
    assert told == [(0, 0, 0, 1), (0, 1, 0.25, 1), (1, 0, 0.5, pytest.approx(0.1)), (1, 1, 0.75, pytest.approx(0.1))]
    assert {(step.eps, step.label_smoothing) for step in shown.steps} == {(engine.threat.eps, 0.1)}
    for step, (x, y) in zip(shown.steps, shown.batches, strict=True):
        levels, labels = engine.data.splits[0].__getitems__(step.known_image_indices.tolist())
        assert torch.equal(to_pixels(levels), x)
        assert torch.equal(labels, y)


def test_data_that_do_not_say_which_images_they_show_are_named_when_it_is_asked():
    with user_error("do not say which images a batch shows"):
        _ = Step().known_image_indices


def test_after_a_step_the_student_can_be_looked_at(fit, tmp_path):
    Looking.seen.clear()
    engine = fit(tmp_path, "natural", "--model.init_args.objective.class_path=test_engine.Looking").model
    assert [seen[:3] for seen in Looking.seen] == [(["ce"], {False}, {False})] * 2
    assert equal(Looking.seen[-1][3], weights(engine))
    assert all(parameter.requires_grad for parameter in engine.student.parameters())


def test_every_purpose_epoch_step_and_rank_draws_its_own():
    keys = [("attack", 0), ("attack", 1), ("augmentation", 0), ("objective", 0)]
    seeds = set()
    for seed, epoch, rank in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        run = SimpleNamespace(device="cpu", seed=seed, trainer=SimpleNamespace(current_epoch=epoch), global_rank=rank)
        run.step_key = partial(Engine.step_key, run)
        seeds |= {Engine.generator(run, *key).initial_seed() for key in keys}
    assert len(seeds) == 4 * len(keys)


def test_init_starts_from_the_given_weights(fit, tmp_path):
    fit(tmp_path / "first", "natural")
    file = tmp_path / "first" / "student.safetensors"
    more = [f"--model.init_args.init={file}", "--model.init_args.training.average=0.9", "--seed_everything=5"]
    fit(tmp_path / "second", "pgd_at", *more, callbacks=[watch := Watch()])
    assert equal(watch.student.state_dict(), read_weights(file)[0])
    assert equal(watch.average.module.state_dict(), read_weights(file)[0])


@pytest.mark.fault(35)
def test_bf16_trains_in_half_and_validates_in_single_precision(fit, tmp_path, observed):
    engine = fit(tmp_path, "ard", "--trainer.precision=bf16-mixed", callbacks=[watch := Watch()]).model
    asked = [(training, dtype) for training, dtype, images in watch.dtypes if images > 2]  # two: to see what can be folded
    assert {dtype for training, dtype in asked if training} == {torch.bfloat16}
    assert {dtype for training, dtype in asked if not training} == {torch.float32}
    assert all(value.isfinite().all() for value in weights(engine).values())
    assert {value.dtype for value in weights(engine).values()} == {torch.float32, torch.int64}
    modes = [f"{'training' if training else 'validation'} in {dtype}" for training, dtype in sorted(set(asked), key=str)]
    observed(f"--trainer.precision=bf16-mixed: {', '.join(modes)}")


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`, callbacks")  # validation has no guards
def test_validate_needs_no_teacher_and_leaves_the_run_alone(fit, tmp_path, teacher_of):
    teacher = teacher_of(10)
    option = f"--model.init_args.teacher.init_args.weights={teacher}"
    fit(tmp_path, "ard", option)
    teacher.unlink()
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    expected = read_metrics(tmp_path / "metrics.csv")[-1]
    found = fit(tmp_path, "ard", option, f"--ckpt_path={tmp_path / 'last.ckpt'}", verb="validate").trainer.callback_metrics
    for name in ("val/clean_acc", "val/robust_acc", "val/loss"):
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-5)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
