"""`ard study` for real: interrupted while it trains, it leaves no process behind; started again, it goes on to the end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from conftest import FAST, TINY
from small_runs import cli, workplace, write_yaml

from ard.artifacts.metrics import read_metrics
from ard.artifacts.paths import RECORDS
from ard.study.processes import CONTEXT, FORKS, Processes

TEACHER = [f"--model.init_args.student.init_args.{part}" for part in ("width=4", "blocks=[1,1]")]
EPOCHS = 15  # of the run that is interrupted after its first


def overrides(options, epochs):
    pairs = (option.removeprefix("--").split("=") for option in (*FAST, *options))
    return {**{key: yaml.safe_load(value) for key, value in pairs}, "trainer.max_epochs": epochs}


STUDY = {
    "base": "configs/digits.yaml",
    "teachers": {"robust": "configs/teachers/digits_resnet.yaml"},
    "recipes": ["pgd_at", "fast_ard"],
    "jobs": 2,
    "overrides": {"robust": overrides(TEACHER, 1), "pgd_at": overrides(TINY, EPOCHS), "fast_ard": overrides(TINY, 8)},
    "evaluate": {"limit": 20},
}
RUNS = ["fast_ard/seed0", "pgd_at/seed0", "teachers/robust"]


def start_study():
    """In a group of its own, so that what it leaves behind can be found; a shell's `&` would have SIGINT ignored."""
    return subprocess.Popen(
        [sys.executable, "-m", "ard", "study", "tiny.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.skipif(not FORKS, reason="processes are not forked here")
def test_what_is_begun_meets_no_ctrl_c_while_it_imports(monkeypatch, tmp_path):
    """Its traceback would be on the terminal of the study, which answers for all."""
    blocked = []
    ready, writable = os.pipe()
    os.close(writable)

    class Begun:
        sentinel, exitcode, join = ready, 0, staticmethod(lambda: None)

        def start(self):
            blocked.append(signal.SIGINT in mask())

    def mask():
        return signal.pthread_sigmask(signal.SIG_BLOCK, ())

    monkeypatch.setattr(CONTEXT, "Process", lambda **_: Begun())
    assert Processes().run([], tmp_path / "log.txt", {}) == 0
    os.close(ready)
    assert blocked == [True]
    assert signal.SIGINT not in mask()


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def is_empty(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_an_interrupted_study_leaves_no_process_and_goes_on_when_started_again(tmp_path, monkeypatch, capsys):
    directory = workplace(tmp_path, monkeypatch) / "checkpoints" / "tiny"
    student = directory / "pgd_at" / "seed0"
    write_yaml(tmp_path / "tiny.yaml", STUDY)
    process = start_study()
    try:
        assert wait_until((student / "last.ckpt.sha256").exists, 120)
        process.send_signal(signal.SIGINT)  # to the study alone, not to its processes
        assert wait_until(lambda: process.poll() is not None and is_empty(process.pid), 60)  # it saves first
    finally:
        if not is_empty(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert process.communicate()[0].splitlines()[-1] == "ard: interrupted"
    assert "$ ard evaluate" not in (student / "log.txt").read_text()  # SIGTERM ends a training with status 0 in Lightning

    status, out, err = cli(capsys, "study", "tiny.yaml")
    assert (status, err) == (0, "")
    fits = [line for line in (student / "log.txt").read_text().splitlines() if line.startswith("$ ard fit")]
    assert ["--resume=auto" in fit for fit in fits] == [False, True]
    validated = [int(row["epoch"]) for row in read_metrics(student / "metrics.csv") if "val/robust_acc" in row]
    assert validated == list(range(EPOCHS))
    table = (directory / "table.md").read_text()
    assert table in out
    assert (directory / "tradeoff.png").stat().st_size > 1000
    for run in RUNS:
        assert f"| {run.removesuffix('/seed0')} " in table
        assert [json.loads((directory / run / name).read_text())["n"] for name in RECORDS] == [20, 20]

    monkeypatch.setattr("ard.study.processes.Processes.run", lambda *_: pytest.fail("a process was started"))
    status, out, err = cli(capsys, "study", "tiny.yaml")
    assert (status, err, out.count("finished before")) == (0, "", len(RUNS))
    assert table in out
