"""The training block against independent computations: averaged weights, learning rates."""

from copy import deepcopy
from math import cos, pi

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning import Callback
from tiny import user_error

from ard.artifacts.metrics import read_metrics
from ard.artifacts.weights import read_weights
from ard.training.schedule import Training

LEARNING = [  # fast enough to tell the averaged student from the raw one
    "--model.init_args.objective.init_args={alpha: 0.01, temperature: 1}",
    "--model.init_args.attack.init_args.steps=1",
    "--model.init_args.training.schedule=multistep",
]


class Record(Callback):
    """The student and the learning rate at every step."""

    def __init__(self):
        self.students, self.rates = [], []

    def on_train_batch_start(self, trainer, engine, *_):  # noqa: ARG002
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, engine, *_):  # noqa: ARG002
        self.students.append(deepcopy(engine.student.state_dict()))


def averaged(students, decay):
    """a ← d a + (1 − d) s with d = min(decay, (1 + n) / (10 + n)), from the first student on; counters are copied."""
    average = students[0]
    for n, student in enumerate(students[1:], start=1):
        d = min(decay, (1 + n) / (10 + n))
        average = {k: d * a + (1 - d) * student[k] if a.is_floating_point() else student[k] for k, a in average.items()}
    return average


def rates(training, steps):
    optimizer = training.make_optimizer([{"params": [torch.zeros(1, requires_grad=True)]}])
    scheduler = training.scheduler(optimizer, steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("decay", [0.7, 0.999])
def test_the_average_is_that_of_the_formula_and_is_what_is_selected(fit, tmp_path, decay):
    options = ["--trainer.limit_train_batches=30", "--trainer.limit_val_batches=1.0", *LEARNING]
    record = Record()
    engine = fit(tmp_path, "ard", *options, f"--model.init_args.training.average={decay}", callbacks=[record]).model
    expected = averaged(record.students, decay)
    assert set(engine.average.module.state_dict()) == set(expected)  # the student's alone
    assert any(name.endswith("running_mean") for name in expected)
    for file in ("student", "last"):
        found = read_weights(tmp_path / f"{file}.safetensors")[0]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    found = float(read_metrics(tmp_path / "metrics.csv")[-1]["val/loss"])
    assert found == pytest.approx(validation_loss(engine, expected), rel=1e-4)
    assert found != pytest.approx(validation_loss(engine, record.students[-1]), rel=1e-3)


def validation_loss(engine, state):
    network = deepcopy(engine.student).eval()
    network.load_state_dict(state)
    images = engine.data.splits[1]
    pixels, labels = images.__getitems__(list(range(len(images))))
    with torch.no_grad():
        return F.cross_entropy(network(pixels.float() / 255), labels).item()


def test_without_an_average_the_student_itself_is_selected(fit, tmp_path):
    engine = fit(tmp_path, "pgd_at").model
    assert engine.average is None
    found = read_weights(tmp_path / "last.safetensors")[0]
    assert all(torch.equal(value, found[name]) for name, value in engine.student.state_dict().items())


def test_multistep_drops_at_fractions_of_training():
    training = Training(lr=0.2, schedule="multistep", milestones=(0.5, 0.75), gamma=0.1)
    assert rates(training, 40) == pytest.approx([0.2] * 20 + [0.02] * 10 + [0.002] * 10)


def test_one_cycle_rises_for_its_warmup_and_falls_to_nothing():
    found = rates(Training(lr=0.2, schedule="one_cycle", warmup=0.3), 1000)
    assert found[0] == pytest.approx(0.2 / 25)
    assert max(found) == pytest.approx(0.2, rel=1e-4)
    assert found.index(max(found)) == pytest.approx(300, abs=2)
    assert found[650] == pytest.approx(0.2 * (1 + cos(pi / 2)) / 2, rel=1e-2)  # halfway down
    assert found[-1] < 1e-5
    assert found[:300] == sorted(found[:300])
    assert found[301:] == sorted(found[301:], reverse=True)


@pytest.mark.parametrize("warmup", [0.5, 0.4, 1.0, 0.0])
def test_triangular_rises_from_nothing_and_falls_to_nothing_in_straight_lines(warmup):
    found = rates(Training(lr=0.2, schedule="triangular", warmup=warmup), 100)
    assert found == pytest.approx(np.interp(range(100), [0, 100 * warmup, 100], [0.2 * (warmup == 0), 0.2, 0]).tolist())


@pytest.mark.parametrize("recipe", ["pgd_at", "free_at"])
def test_the_run_follows_its_schedule_step_by_step(fit, tmp_path, recipe):
    """For free replays, four to a batch, every replay is a step."""
    replays = 4 if recipe == "free_at" else 1
    options = ["--trainer.max_epochs=8", "--model.init_args.training.schedule=one_cycle", "--trainer.limit_val_batches=1"]
    options += [f"--model.init_args.replays={replays}"] if replays > 1 else []
    engine = fit(tmp_path, recipe, *options, callbacks=[record := Record()]).model
    steps = 16
    assert engine.trainer.global_step == steps
    assert record.rates == pytest.approx(rates(engine.training_block, steps)[::replays])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"milestones": (50, 75)}, "expected fractions of training"),
        ({"milestones": (0.0,)}, "expected fractions of training"),
        ({"average": 1.0}, r"expected a decay in \(0, 1\)"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused(options, message):
    with user_error(message):
        Training(**options)
