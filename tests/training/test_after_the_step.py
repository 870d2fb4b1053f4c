"""What waits for the optimiser's step: clean images for BatchNorm, and moved weights; of one batch, or of several."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from tiny import images, labels, tiny_net
from torch.utils.data import DataLoader, TensorDataset

import ard
from ard.attacks import FGSM
from ard.objectives.pgd_at import PGDAT
from ard.training.schedule import Training
from ard.training.step import show_clean
from ard.training.weight_perturbation import AWP

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .* does not have many workers"),
    pytest.mark.filterwarnings("ignore:loaders that are not of ard.data"),
    pytest.mark.filterwarnings("ignore:Starting from v1.9.0"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no"),
]
QUIET = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "enable_progress_bar": False}
RATE, DECAY, GAMMA = 0.1, 0.2, 0.05


class After(pl.Callback):
    """The student after every batch."""

    def __init__(self):
        self.states = []

    def on_train_batch_end(self, trainer, engine, *_):  # noqa: ARG002
        self.states.append(copy.deepcopy(engine.student.state_dict()))


def trained(batches, **options):
    """One step of the optimiser, of as many batches of four images: the engine, the student before and after each batch."""
    training = Training(lr=RATE, weight_decay=DECAY, milestones=(1.0,), average=0.5)
    module = ard.Distillation(
        student=tiny_net(), objective=PGDAT(), attack=FGSM, eps=0.1, training=training, num_classes=4, **options
    )
    before, data = copy.deepcopy(module.student.state_dict()), TensorDataset(images(4 * batches), labels(4 * batches))
    several = {"accumulate_grad_batches": batches, "callbacks": [after := After()]}
    pl.Trainer(max_epochs=1, accelerator="cpu", **QUIET, **several).fit(module, DataLoader(data, batch_size=4))
    assert module.trainer.global_step == 1
    return module, [before, *after.states]


def weights(state):
    return {name: value for name, value in state.items() if value.ndim > 1}


def same(ours, theirs):
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("batches", [1, 2])
def test_the_new_weights_are_shown_all_images_of_the_step(batches):
    module, states = trained(batches, clean_pass="after_step")
    plain, others = trained(batches)
    assert all(same(ours, theirs) for ours, theirs in zip(states[:-1], others[:-1], strict=True))
    student = plain.student.train()
    for number in range(batches):
        show_clean(student, images(4 * batches)[4 * number :][:4])
    assert same(student.state_dict(), states[-1])
    assert not same(others[-1], states[-1])
    assert same(module.average.module.state_dict(), states[-1])  # it begins with what the first step leaves


@pytest.mark.parametrize("batches", [1, 2])
def test_the_moved_weights_decay_and_all_else_is_as_ever(batches):
    """θ' − θ'' = lr · decay · v, where θ'' decayed θ alone; between two batches no weight has moved by a bit."""
    found = {}
    for restore in ("before_step", "after_step"):
        module, states = trained(batches, weight_perturbation=AWP(gamma=GAMMA, restore=restore))
        found[restore] = states[-1]
        assert all(same(weights(state), weights(states[0])) for state in states[:-1])
        assert module.taken is None
    early, late = found["before_step"], found["after_step"]
    for name, weight in weights(states[0]).items():
        apart = (early[name] - late[name]).norm().item()
        assert apart == pytest.approx(RATE * DECAY * GAMMA * weight.norm().item(), rel=1e-2)
    assert same({name: value for name, value in early.items() if value.ndim < 2}, late)
