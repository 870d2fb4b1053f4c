"""Two processes that train together: one is killed, or asked to stop; both end, and the run resumes exactly."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from socket import socket

import pytest
from killed_runs import PAIR, assert_same_run, order, pair_ended, witnessed

TESTS = Path(__file__).parents[1]
OPTIONS = [  # free replays: BatchNorm statistics of the two differ inside an epoch, and each has a perturbation of its own
    "--trainer.limit_train_batches=1.0",
    "--data.init_args.batch_size=300",
    "--trainer.max_epochs=6",
    "--model.init_args.replays=2",
    "--resume=auto",
]


@pytest.fixture(scope="module")
def alone(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert pair_ended(command(folder, "fast_ard", *OPTIONS), folder)[0] == [0, 0]
    return folder


def launched(words, **environment):
    """`ard fit` as a user starts it, in a group of its own, so that what it leaves behind can be found."""
    path = {"PYTHONPATH": f"{TESTS.parent}:{TESTS}:{TESTS / 'training'}"}
    environment = {**os.environ, **path, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "ard", *words, *PAIR],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def seconds_until_all_are_gone(process):
    since = time.monotonic()
    while time.monotonic() < since + 60:
        process.poll()  # a process that nobody asks for stays in its group
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return time.monotonic() - since
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    return float("inf")


@pytest.mark.slow
@pytest.mark.fault(43, 1)
@pytest.mark.parametrize("rank", [0, 1])
def test_with_one_process_killed_all_end_and_the_run_goes_on(command, alone, tmp_path, observed, rank):
    """The second sits in something that never ends, as a collective operation may; the first waits for the second."""
    folder = tmp_path / "run"
    words = command(folder, "fast_ard", *OPTIONS)
    process = launched([*words, witnessed(folder, epoch=1, step=1, signals=[signal.SIGKILL], rank=rank, hang=rank == 0)])
    while process.poll() is None and not (folder.with_suffix(f".order.{rank}").exists() and (1, 1) in order(folder, rank)):
        time.sleep(0.1)
    assert seconds_until_all_are_gone(process) < 30
    assert process.wait() != 0
    assert "Traceback" not in process.communicate()[1]
    assert not (folder / "student.safetensors").exists()

    statuses, said = pair_ended(words, folder, epoch=2, step=1, signals=[signal.SIGTERM], rank=rank)
    assert (statuses, said.splitlines()[0]) == ([143, 0], f"ard: resuming from {folder}/last.ckpt, step 6")
    statuses, said = pair_ended(words, folder)
    assert (statuses, said) == ([0, 0], f"ard: resuming from {folder}/last.ckpt, step 16\n")
    assert_same_run(alone, folder)
    assert order(alone, 1) == order(folder, 1)
    observed(
        f"rank {rank} killed: all gone within 30 s, exit not 0; SIGTERM to it: 143 after the same step; ends bit-identical"
    )


@pytest.mark.slow
@pytest.mark.fault(54)
def test_a_port_in_use_ends_all_processes_with_one_line(command, tmp_path, observed):
    """The first cannot open it; the second, which is still importing then, would wait for whoever answers there."""
    with socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        process = launched(command(tmp_path / "run", "natural"), MASTER_PORT=str(other.getsockname()[1]))
        with process.stderr:
            said = process.stderr.readlines()
        status, seconds = process.wait(), seconds_until_all_are_gone(process)
    assert (status, len(said), seconds < 10) == (2, 1, True), said
    assert "where the processes of this run are to meet, is in use" in said[0]
    assert not (tmp_path / "run").exists()
    observed(f"exit {status}, all gone within 10 s: {re.sub('[0-9]+', 'N', said[0])}")
