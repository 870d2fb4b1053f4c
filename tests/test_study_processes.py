"""`ard study` for real: interrupted while it trains, it leaves no process behind; started again, it goes on to the end."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import FAST, TINY
from small_runs import cli, workplace, write_yaml

TEACHER = ["model.init_args.student.init_args.width=4", "model.init_args.student.init_args.blocks=[1, 1]"]


def overrides(*options, epochs=1):
    pairs = (option.removeprefix("--").split("=") for option in (*FAST, *options))
    return {**{key: json.loads(value) if value[0] in "[0123456789ft" else value for key, value in pairs}, "trainer.max_epochs": epochs}


STUDY = {
    "base": "configs/digits.yaml",
    "teachers": {"robust": "configs/teachers/digits_resnet.yaml"},
    "recipes": ["pgd_at", "ard", "fast_ard"],
    "jobs": 2,
    "evaluate": {"limit": 50},
}


def interrupt_when(process, condition, seconds=120):
    """Sends SIGINT to the study alone, as soon as the condition holds, and gives the time it took to end."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the study ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.1)
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(60)
    return time.monotonic() - start


def group_is_empty(group):
    """Whether no process of the study's group is left; a moment for those that were just told to end."""
    for _ in range(50):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
def test_an_interrupted_study_ends_its_processes_and_goes_on_when_started_again(tmp_path, monkeypatch, capsys):
    place = workplace(tmp_path, monkeypatch)
    settings = {"robust": overrides(*TEACHER), "pgd_at": overrides(*TINY, epochs=2000), "ard": overrides(*TINY)}
    settings["fast_ard"] = overrides(*TINY, epochs=8)
    write_yaml(place / "tiny.yaml", {**STUDY, "overrides": settings})
    process = subprocess.Popen(
        [sys.executable, "-m", "ard", "study", "tiny.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's `&` has it ignored
    )
    student = place / "checkpoints/tiny/pgd_at/seed0"
    try:
        seconds = interrupt_when(process, lambda: (student / "last.ckpt.sha256").exists())
        assert seconds < 15
        assert group_is_empty(process.pid)
    finally:
        if not group_is_empty(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert process.stdout.read().strip().splitlines()[-1] == "ard: interrupted"
    assert not (student / "evaluation.json").exists()

    interrupted = (student / "metrics.csv").read_text().splitlines()
    (student / "log.txt").rename(place / "first.txt")
    settings["pgd_at"]["trainer.max_epochs"] = 2000
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert len(interrupted) < 2000
