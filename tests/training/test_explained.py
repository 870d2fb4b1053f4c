"""What torch says of a network or a machine, as one line with the option to use; found before training where it can be."""

import pytest
import torch
from small_runs import cli
from tiny import user_error
from torch import nn

from ard.cli import lightning
from ard.training.explained import check_gradients, explained


class Idle(nn.Module):
    """A network with a layer that nobody asks."""

    def __init__(self, *, num_classes=3):
        super().__init__()
        self.head, self.spare = nn.Linear(4, num_classes), nn.Linear(2, 2)

    def forward(self, x):
        return self.head(x.flatten(1))


class Overwriting(nn.Module):
    """As AlexNet with another activation: each layer writes over what the one before it still needs."""

    def __init__(self, *, num_classes=3):
        super().__init__()
        layers = (nn.Linear(64, 8), nn.ReLU(inplace=True), nn.Dropout(0.5, inplace=True), nn.Linear(8, num_classes))
        self.layers = nn.Sequential(nn.Flatten(), *layers)

    def forward(self, x):
        return self.layers(x)


def test_a_layer_that_nobody_asks_matters_to_several_processes():
    check_gradients(Idle(), (1, 2, 2), 2, together=False)
    with user_error("spare.weight, spare.bias; --trainer.strategy ddp_find_unused_parameters_true, or --devices 1"):
        check_gradients(Idle(), (1, 2, 2), 2, together=True)


def test_the_trial_leaves_network_and_random_state_alone():
    network, before = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 3)), torch.get_rng_state()
    state = {name: value.clone() for name, value in network.state_dict().items()}
    check_gradients(network, (1, 2, 2), 2, together=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(part.grad is None for part in network.parameters())


def test_a_network_that_cannot_be_trained_is_refused_before_anything_is_written(command, tmp_path, capsys, one_parser):  # noqa: ARG001
    words = command(tmp_path / "run", "natural", "--model.student=test_explained.Overwriting", student=())
    status, _, err = cli(capsys, *words)
    assert (status, "no `inplace=True` there" in err, err.count("\n")) == (2, True, 1)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_radius_that_looks_like_another_norms_is_told_when_the_run_is_built(command, one_parser):  # noqa: ARG001
    words = ["--model.threat=ard.attacks.L2", "--eps=8/255"]
    with pytest.warns(UserWarning, match="L2 eps 8/255 is as good as none"):
        lightning.DryRun(command("nowhere", "natural", *words))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            RuntimeError("Early stopping conditioned on metric `val_loss` which is not available. Pass in"),
            "`val_loss` which",
        ),
        (RuntimeError("DataLoader worker (pid 3) is killed by signal: Bus error. It is possible that"), "--data.workers 0 "),
        (RuntimeError("unable to write to file </torch_123_456_0>: No space left on device (28)"), "--data.workers 0 "),
        (RuntimeError("DataLoader worker (pid(s) 3, 4) exited unexpectedly"), "--data.workers N"),
        (
            RuntimeError("It looks like your LightningModule has parameters that were not used in producing the loss"),
            "ddp_fi",
        ),
    ],
)
def test_a_library_in_our_words(error, told, capsys, monkeypatch):
    def fails(*_):
        raise error

    monkeypatch.setattr(lightning, "CLI", fails)
    status, _, err = cli(capsys, "fit", "digits", "natural")
    assert (status, told in err, err.count("\n")) == (2, True, 1)


def test_what_is_not_known_stays_as_it_is():
    assert explained(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
