"""Two processes: what is not finite on the second one alone ends both, with one crash file that tells of both."""

import json
import re
from pathlib import Path

import pytest
import torch
from killed_runs import PAIR
from prepared import pair_environments, rank, start, statuses
from pytorch_lightning import Callback

from ard.study.processes import Processes

TESTS = Path(__file__).parents[1]


class PoisonSecond(Callback):
    """NaN in an image of one step of the second process."""

    def on_train_batch_start(self, trainer, engine, batch, batch_idx):  # noqa: ARG002
        if (trainer.current_epoch, batch_idx, trainer.global_rank) == (1, 1, 1):
            batch[0][0, 0, 0, 0] = torch.nan


@pytest.mark.slow
@pytest.mark.fault(6)
@pytest.mark.parametrize(("recipe", "epochs"), [("ard", 2), ("fast_ard", 4)])
def test_nan_in_one_process_stops_both(command, tmp_path, observed, recipe, epochs):
    """Of a study, where Lightning launches the second one, or started by hand."""
    more = ["--trainer.limit_train_batches=3", f"--trainer.max_epochs={epochs}"]
    more += ["--trainer.callbacks=test_guards_ddp.PoisonSecond"]
    more += ["--model.init_args.replays=2"] if recipe == "fast_ard" else []
    words, log = command(tmp_path / "run", recipe, *more), tmp_path / "log.txt"
    if recipe == "fast_ard":
        found = statuses(*(start(rank, environment, words, words=log) for environment in pair_environments()))
    else:
        environment = {"PYTHONPATH": f"{TESTS.parent}:{TESTS}:{TESTS / 'training'}", "OMP_NUM_THREADS": "1"}
        found = [Processes().run([*words, *PAIR], log, environment)]
    told = log.read_text()
    assert set(found) == {2}, (found, told[-3000:])
    lines = {line for line in told.splitlines() if re.match("ard: (?!warning)", line)}
    (line,) = lines  # both say the same
    assert "Traceback" not in told
    assert "the loss is nan on rank 1" in line
    crash = json.loads((tmp_path / "run" / "crash.json").read_text())
    first, second = crash["ranks"]
    assert (first["rank"], second["rank"], second["loss"]) == (0, 1, "nan")
    assert isinstance(first["loss"], float)
    assert len(first["images"]) == len(second["images"]) == 16
    assert not set(first["images"]) & set(second["images"])
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["epoch"] == 0
    observed(f"two processes, NaN in the second: exit 2: {line}")
