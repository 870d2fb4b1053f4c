"""A study that is killed leaves no training behind, and one that is started at once goes on."""

import os
import signal
import time

import pytest
import torch
from conftest import FAST, TINY
from prepared import start, statuses
from small_runs import workplace, write_yaml
from test_study_processes import overrides, wait_until

from ard.artifacts.metrics import read_metrics
from ard.study.processes import FORKS, Processes
from ard.training.callbacks.signals import STATUS

EPOCHS = 12


def tiny():
    """Its trainings are forked from the server that it comes from itself; one of its own would import everything again."""
    from multiprocessing import forkserver

    from ard.__main__ import main

    if FORKS:
        forkserver._forkserver.ensure_running = lambda: None
    return main(["study", "tiny.yaml"])


def holder(folder):
    """The process that trains in a folder, as its lock says."""
    return int((folder / ".lock").read_text().split()[1])


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.fault(53)
def test_killed_a_study_takes_its_trainings_along_and_goes_on(tmp_path, monkeypatch, observed):
    folder = workplace(tmp_path, monkeypatch) / "checkpoints" / "tiny" / "pgd_at" / "seed0"
    options = overrides([*FAST, *TINY], EPOCHS)
    content = {"base": "configs/digits.yaml", "recipes": ["pgd_at"], "jobs": 2, "overrides": {"pgd_at": options}}
    write_yaml(tmp_path / "tiny.yaml", {**content, "evaluate": {"limit": 20}})
    first = start(tiny, words=tmp_path / "first.txt")
    assert wait_until((folder / "last.ckpt.sha256").exists, 60)
    training = holder(folder)
    first.kill()
    since, second = time.monotonic(), start(tiny, words=tmp_path / "second.txt")
    assert wait_until(lambda: not is_alive(training), 30)
    seconds = time.monotonic() - since
    assert statuses(first, second) == [-signal.SIGKILL, 0]
    log = (folder / "log.txt").read_text()
    assert log.count("ard: SIGTERM after step") == 1
    assert [int(row["epoch"]) for row in read_metrics(folder / "metrics.csv") if "val/clean_acc" in row] == [*range(EPOCHS)]
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == EPOCHS - 1
    assert (folder / "evaluation.json").is_file()
    assert seconds < 20
    observed("its training saved its step and was gone within 20 s; the restart waited, resumed it and ended with status 0")


@pytest.mark.usefixtures("study_place")
@pytest.mark.fault(70)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_second_signal_does_not_keep_a_study_from_ending_its_runs(study, monkeypatch, observed, number):
    """It came while the first one's work was done, and the study went on to its end."""
    begun, stop = [], Processes.stop

    def run(processes, *_):
        if processes._stopped:  # as the real one: none begins any more
            return 130
        begun.append(processes)
        os.kill(os.getpid(), number)
        return 130 if wait_until(lambda: processes._stopped, 60) else 0

    def interrupted(processes):
        signal.raise_signal(signal.SIGINT)
        stop(processes)

    monkeypatch.setattr(Processes, "run", run)
    monkeypatch.setattr(Processes, "stop", interrupted)
    handlers = {each: signal.getsignal(each) for each in STATUS}
    try:
        status = study(jobs=1)[0]
    except SystemExit as ended:  # by any signal but Ctrl-C
        status = ended.code
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    assert (status, len(begun), begun[0]._stopped) == (STATUS[number], 1, True)
    observed(f"{number.name}, then Ctrl-C: its one training was asked to end, no other began, exit {status}")
