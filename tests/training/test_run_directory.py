"""A run's directory: for one run at a time, swept at the start, with room for what is to come."""

import os
import resource
import signal
import subprocess
import sys

import pytest
import torch
from small_runs import cli
from tiny import user_error
from torch import nn

from ard.core.locks import alone
from ard.training.room import check_room

HOLDS = "import sys, time; from pathlib import Path; from ard.core.locks import alone\nwith alone(Path(sys.argv[1])):\n "
HOLDS += "print('held', flush=True); time.sleep(600)"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the directory `run`."""
    words = [sys.executable, "-c", HOLDS, str(tmp_path / "run")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.mark.fault(47)
def test_a_second_run_is_refused_until_the_first_has_ended(command, capsys, tmp_path, holder, observed):
    words = command(tmp_path / "run", "natural")
    status, _, err = cli(capsys, *words)
    assert (status, err.count("\n")) == (2, 1)
    assert f"another run is writing here (process {holder.pid} on " in err
    assert [file.name for file in (tmp_path / "run").iterdir()] == [".lock"]
    line = err.replace(str(holder.pid), "N").replace(os.uname().nodename, "host")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert cli(capsys, *words)[0] == 0
    assert not (tmp_path / "run" / ".lock").exists()
    observed(f"exit {status}: {line}; after kill -9 of the first, the second runs")


def test_a_directory_that_was_made_for_nothing_goes_again(tmp_path):
    with pytest.raises(ZeroDivisionError), alone(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with alone(tmp_path / "a"):
        assert [file.name for file in (tmp_path / "a").iterdir()] == [".lock"]
    assert (tmp_path / "a").is_dir()


def test_a_link_in_place_of_the_lock_leads_nowhere(command, capsys, tmp_path):
    """A folder from somebody else: the file that the link names would be emptied."""
    run, other = tmp_path / "run", tmp_path / "precious"
    run.mkdir()
    other.write_text("precious")
    (run / ".lock").symlink_to(other)
    status, _, err = cli(capsys, *command(run, "natural"))
    assert (status, err.count("\n")) == (2, 1)
    assert "/run/.lock is a link; expected a file, or nothing: remove it" in err
    assert other.read_text() == "precious"


@pytest.mark.fault(3)
def test_what_a_killed_writer_left_is_swept(fit, tmp_path):
    for name in (".last.ckpt.tmp", ".metrics.csv.tmp", ".last.ckpt.sha256.123.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".evaluation.json.123.tmp").write_bytes(b"of a living process")
    fit(tmp_path, "natural")
    assert [file.name for file in tmp_path.glob(".*")] == [".evaluation.json.123.tmp"]


@pytest.mark.parametrize("place", ["file/run", "/proc/run"])
@pytest.mark.fault(39)
def test_a_place_that_cannot_be_written_is_refused_at_the_start(command, capsys, tmp_path, place, observed):
    (tmp_path / "file").write_text("no folder")
    status, _, err = cli(capsys, *command(tmp_path / place, "natural"))
    assert (status, err.count("\n")) == (2, 1)
    assert f"{tmp_path / place}: cannot be written (" in err
    observed(f"exit {status}: {err}")


@pytest.mark.fault(39)
def test_a_disk_without_room_is_refused_at_the_start(command, capsys, tmp_path, monkeypatch, observed):
    def full(descriptor, offset, size):  # noqa: ARG001
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    status, _, err = cli(capsys, *command(tmp_path / "run", "natural"))
    assert (status, err.count("\n")) == (2, 1)
    assert "run: no room for checkpoints (No space left on device): expected 5 times 0." in err
    assert not (tmp_path / "run").exists()
    observed(f"exit {status}: {err}")


def test_the_room_is_what_a_checkpoint_takes(fit, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "posix_fallocate", lambda descriptor, offset, size: asked.append(size))  # noqa: ARG005
    fit(tmp_path, "pgd_at", "--model.init_args.training.average=0.9")
    assert len(asked) == 5
    assert 1 < asked[0] / (tmp_path / "last.ckpt").stat().st_size < 3
    check_room(tmp_path, nn.Linear(2, 2))
    assert len(asked) == 5 + 5 - len(list(tmp_path.glob("*.ckpt")))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are Unicode")
def test_a_folder_whose_name_is_no_utf_8_is_refused_before_the_training(command, capsys, tmp_path):
    """torch cannot open a checkpoint in it."""
    status, out, err = cli(capsys, *command(tmp_path / os.fsdecode(b"caf\xe9"), "natural"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "a name in its path is not UTF-8" in err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def little_room():
    """little_room(bytes): no file of this process may grow longer from now on, as under a quota."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.fault(39)
def test_a_disk_that_fills_up_stops_the_run_and_keeps_what_there_was(command, capsys, tmp_path, little_room, observed):
    options = ["--trainer.max_epochs=2", "--model.init_args.training.schedule=multistep"]
    assert cli(capsys, *command(tmp_path / "run", "natural", *options))[0] == 0
    before = (tmp_path / "run" / "last.ckpt").read_bytes()
    longer = [*options[1:], "--trainer.max_epochs=3", "--resume=auto"]
    little_room(len(before) // 2)
    status, _, err = cli(capsys, *command(tmp_path / "run", "natural", *longer))
    assert (status, "no room for checkpoints (File too large)" in err) == (2, True)
    os.posix_fallocate, kept = (lambda *_: None), os.posix_fallocate
    try:
        status, _, err = cli(capsys, *command(tmp_path / "run", "natural", *longer))
    finally:
        os.posix_fallocate = kept
    assert (status, "ckpt: cannot be written (File too large)" in err.splitlines()[-1]) == (2, True)
    assert "Traceback" not in err
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before
    assert [file.name for file in (tmp_path / "run").glob(".*")] == []
    observed(f"exit {status}: {err.splitlines()[-1]}; last.ckpt as before")


@pytest.mark.fault(39)
def test_a_disk_that_gives_back_something_else_is_noticed(fit, tmp_path, monkeypatch, observed):
    save = torch.save

    def flips(content, file):
        save(content, file)
        file.file.seek(-1, 2)
        file.file.write(b"?")

    fit(tmp_path, "natural", schedule := "--model.init_args.training.schedule=multistep")
    before = (tmp_path / "last.ckpt").read_bytes()
    monkeypatch.setattr(torch, "save", flips)
    with user_error("ckpt: the disk returned other bytes than were written") as caught:
        fit(tmp_path, "natural", schedule, "--trainer.max_epochs=2", "--resume=auto")
    assert (tmp_path / "last.ckpt").read_bytes() == before
    observed(f"exit 2: {caught.value}")
