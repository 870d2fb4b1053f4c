"""The schedules of configs/schedules drop at the step where released codes drop, and objectives are told of it in time."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from shipped_recipes import CONFIGS, content, parts
from torch import nn

from ard.attacks import PGD
from ard.data import Digits
from ard.objectives.absld import ABSLD
from ard.training.distillation import Distillation
from ard.training.schedule import Training

# By schedule: epochs, and lr of an epoch, from 0, as the authors' loops set it.
RELEASED = {
    "ard-as-released": (200, lambda epoch: 0.1 * 0.1 ** (epoch >= 100)),  # the initial rate is multiplied at each drop
    "rslad": (300, lambda epoch: 0.1 * 0.1 ** sum(epoch + 1 > last for last in (215, 260, 285))),  # at ends of epochs from 1
    "peeraid": (300, lambda epoch: 0.1 * 0.1 ** sum(epoch >= first for first in (214, 259, 284))),  # at beginnings, from 0
    "rslad_igdm": (200, lambda epoch: 0.1 * 0.1 ** sum(epoch + 1 > int(200 * share) for share in (0.7, 0.86, 0.95))),
    "mart": (120, lambda epoch: 0.01 * 0.1 ** sum(epoch + 1 >= first for first in (75, 90, 100))),  # at beginnings, from 1
}


@pytest.mark.parametrize("batches", [382, 391])  # of 128 of 49,000 and of 50,000 images
@pytest.mark.parametrize("name", RELEASED)
def test_the_rate_drops_at_the_step_of_the_released_code(name, batches):
    epochs, rate = RELEASED[name]
    schedule = CONFIGS / "schedules" / f"{name}.yaml"
    assert content(schedule)["trainer"]["max_epochs"] == epochs
    training = Training(**parts(schedule)["training"])
    optimizer = training.make_optimizer([{"params": [torch.nn.Parameter(torch.zeros(1))]}])
    drops = training.scheduler(optimizer, epochs * batches).milestones
    for epoch in range(epochs):
        for step in (epoch * batches, (epoch + 1) * batches - 1):  # the first and the last of the epoch
            found = training.lr * training.gamma ** sum(step >= drop for drop in drops)
            assert found == pytest.approx(rate(epoch)), f"step {step} in epoch {epoch} from 0"


def test_an_epoch_that_ends_with_a_drop_says_both_rates(monkeypatch):
    """What ABSLD's option needs: the rate of the epoch, and the one that has fallen."""
    told = []
    monkeypatch.setattr(ABSLD, "on_epoch_end", lambda self: told.append((self.step.lr_factor, self.step.next_lr_factor)))
    training = Training(lr=0.02, milestones=[2 / 3])
    networks = {
        "student": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
        "teacher": nn.Sequential(nn.Flatten(), nn.Linear(64, 10)),
    }
    engine = Distillation(**networks, objective=ABSLD(falls_first=True), attack=partial(PGD, steps=1), training=training)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_epochs=3, limit_train_batches=2, limit_val_batches=0, accelerator="cpu", **quiet)
    trainer.fit(engine, datamodule=Digits(batch_size=32))
    assert told == [pytest.approx(pair) for pair in ((1, 1), (1, 0.1), (0.1, 0.1))]
