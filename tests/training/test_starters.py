"""Who holds a run's folder, whatever started its processes: known before they are connected."""

import pytest
from pytorch_lightning.utilities import rank_zero_only
from tiny import user_error

import ard.cli.lightning
from ard.cli.lightning import CLI
from ard.core.locks import LOCK
from ard.training.callbacks.ranks import is_first

NODES = ["--trainer.strategy=ddp", "--trainer.devices=2", "--trainer.num_nodes=2"]
SRUN = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "7"}
TORCHRUN = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
TORCHRUN |= {"TORCHELASTIC_RUN_ID": "none"}
STARTED = {  # environment, options, whether it is the first process of the run
    "alone": ({}, [], True),
    "srun, first": ({**SRUN, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}, NODES, True),
    "srun, second of a node": ({**SRUN, "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}, NODES, False),
    "srun, first of another node": ({**SRUN, "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_NODEID": "1"}, NODES, False),
    "a run of its own in a task of srun": ({**SRUN, "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}, [], True),
    "torchrun, first": ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, NODES, True),
    "torchrun, first of another node": ({**TORCHRUN, "RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, NODES, False),
    "by hand, on another node": ({"NODE_RANK": "1"}, NODES, False),
}


class Prepared(CLI):
    """Builds everything and trains nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


ONE_TASK = {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}


@pytest.mark.parametrize(
    ("environment", "options", "words"),
    [
        (
            ONE_TASK,
            ["--trainer.devices=2"],
            r"--devices 2 on 1 node\(s\) are 2 processes, but the launcher started 1: expected",
        ),
        (
            {**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"},
            NODES[:2],
            "are 2 processes, .* started 4: expected",
        ),
    ],
)
def test_as_many_processes_as_devices_or_none(environment, options, words, command, monkeypatch, tmp_path):
    """Lightning would train on those that were started, whatever was asked for."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with user_error(words):
        Prepared(command(tmp_path / "run", "natural", *options))
    assert not list(tmp_path.glob("run/*.yaml"))


@pytest.mark.parametrize("starter", STARTED)
@pytest.mark.fault(69)
def test_the_first_process_of_a_run_holds_its_folder(starter, command, monkeypatch, tmp_path, observed):
    environment, options, first = STARTED[starter]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    guess = next((int(environment[name]) for name in ("RANK", "SLURM_PROCID") if name in environment), 0)
    monkeypatch.setattr(rank_zero_only, "rank", guess)  # as Lightning sets it when it is imported
    held = []
    monkeypatch.setattr(ard.cli.lightning, "check_room", lambda *_: held.append((tmp_path / "run" / LOCK).exists()))
    Prepared(command(tmp_path / "run", "natural", *options))
    assert held == [True] * first
    assert is_first() == first
    observed(f"{starter}: {'holds the folder' if first else 'leaves it to the first'}")
