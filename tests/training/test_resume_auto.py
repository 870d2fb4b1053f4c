"""--resume auto: the newest valid checkpoint, by the step inside it, and one line about every other one."""

import os
import re

import pytest
import torch
from killed_runs import differences, states
from small_runs import cli
from tiny import user_error

from ard.training.checkpoints import AtomicCheckpointIO
from ard.training.resume import newest

OPTIONS = ["--trainer.max_epochs=3", "--model.init_args.training.schedule=multistep"]


@pytest.fixture(scope="module")
def finished(fit, tmp_path_factory):
    """Three epochs of two steps."""
    directory = tmp_path_factory.mktemp("run")
    fit(directory, "natural", *OPTIONS)
    return directory


@pytest.fixture
def run(finished, tmp_path):
    """A copy of that run's directory, as it was killed after its second epoch."""
    directory = tmp_path / "run"
    directory.mkdir()
    for file in finished.iterdir():
        if file.suffix != ".safetensors":
            (directory / file.name).write_bytes(file.read_bytes())
    for suffix in (".ckpt", ".ckpt.sha256"):
        (directory / f"last{suffix}").unlink()
        (directory / f"previous{suffix}").rename(directory / f"last{suffix}")
    (directory / "last.ckpt.sha256").write_text((directory / "last.ckpt.sha256").read_text().replace("previous", "last"))
    for suffix in (".ckpt", ".ckpt.sha256"):
        (directory / f"best{suffix}").unlink()
    return directory


def resumed(command, capsys, directory, *more):
    """Status and lines of a run that goes on."""
    status, _, err = cli(capsys, *command(directory, "natural", *OPTIONS, "--resume=auto", *more))
    return status, [line.replace(str(directory), "run") for line in err.splitlines() if line.startswith("ard: ")]


def write_step(directory, name, step, source):
    content = torch.load(source, weights_only=True)
    torch.save({**content, "global_step": step}, directory / name)


def test_it_goes_on_where_the_newest_ends(command, capsys, run, finished):
    assert resumed(command, capsys, run) == (0, ["ard: resuming from run/last.ckpt, step 4"])
    assert differences(states(run), states(finished)) == []


def test_where_there_is_nothing_a_run_begins(command, capsys, tmp_path, finished):
    assert resumed(command, capsys, tmp_path / "new") == (0, ["ard: run holds no checkpoint: a new run"])
    assert differences(states(tmp_path / "new"), states(finished)) == []


DAMAGE = {
    "empty": lambda content: content[:0],
    "half": lambda content: content[: len(content) // 2],
    "one byte short": lambda content: content[:-1],
    "bit-flipped": lambda content: content[:2000] + bytes([content[2000] ^ 1]) + content[2001:],
    "HTML": lambda content: b"<!DOCTYPE html>" + content[:0],
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.fault(9, 10, 11)
def test_a_damaged_newest_one_is_passed_over(command, capsys, run, finished, observed, kind):
    for suffix in ("", ".sha256"):
        (run / f"previous.ckpt{suffix}").write_bytes((run / f"last.ckpt{suffix}").read_bytes())
    content = DAMAGE[kind]((run / "last.ckpt").read_bytes())
    (run / "last.ckpt").write_bytes(content)
    status, lines = resumed(command, capsys, run)
    assert (status, len(lines)) == (0, 1)
    expected = rf"resuming from run/previous.ckpt, step 4; skipped: run/last.ckpt \({len(content)} bytes\) is damaged"
    assert re.search(expected + ": SHA-256 .{12}…, expected .{12}…$", lines[0])
    assert differences(states(run), states(finished)) == []
    observed(f"{kind}: {re.sub('[0-9a-f]{12}', 'abc', lines[0])}")


@pytest.mark.fault(9)
def test_an_error_about_last_names_the_other_one(command, capsys, run, observed):
    for suffix in ("", ".sha256"):
        (run / f"previous.ckpt{suffix}").write_bytes((run / f"last.ckpt{suffix}").read_bytes())
    (run / "last.ckpt").write_bytes((run / "last.ckpt").read_bytes()[:1000])
    status, _, err = cli(capsys, *command(run, "natural", *OPTIONS, "--ckpt_path=last"))
    assert status == 2
    assert re.search(
        r"last\.ckpt \(1000 bytes\) is damaged: SHA-256 \S+, expected \S+; previous\.ckpt \(step 4\) is valid", err
    )
    assert err.endswith("--resume auto resumes from it\n")
    observed(f"exit {status}: {re.sub('[0-9a-f]{12}', 'abc', err)}")


@pytest.mark.fault(9)
def test_where_all_are_damaged_nothing_is_overwritten(command, capsys, run, observed):
    (run / "last.ckpt").write_bytes(b"")
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    status, lines = resumed(command, capsys, run)
    assert status == 2
    assert re.search("run holds no valid checkpoint .*last.ckpt .0 bytes. is damaged.*--out DIR starts anew", lines[0])
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before
    observed(f"exit {status}: {re.sub('[0-9a-f]{12}', 'abc', lines[0])}")


@pytest.mark.fault(10)
def test_without_a_digest_the_archive_must_be_whole(fit, run):
    """As after a kill between the checkpoint and its digest."""
    (run / "last.ckpt.sha256").unlink()
    fit(run, "natural", *OPTIONS, "--resume=auto")
    assert {f"{name}.ckpt.sha256" for name in ("last", "previous")} <= {file.name for file in run.iterdir()}
    (run / "last.ckpt.sha256").unlink()
    content = bytearray((run / "last.ckpt").read_bytes())
    weight = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]["student.head.weight"]
    content[content.index(weight.numpy().tobytes())] ^= 1
    (run / "last.ckpt").write_bytes(content)
    with user_error(r"last.ckpt \(\d+ bytes\) is damaged: .* is not what was written"):
        fit(run, "natural", *OPTIONS, "--ckpt_path=last")


@pytest.mark.fault(48)
def test_the_newest_is_that_of_the_latest_step(run, observed):
    source = run / "last.ckpt"
    for name, step in (("step-9.ckpt", 9), ("step-10.ckpt", 10), ("later.ckpt", 2)):
        write_step(run, name, step, source)
    os.utime(run / "step-10.ckpt", (0, 0))  # the clock was set back
    start, refused = newest(run)
    assert (start.path.name, start.step, refused) == ("step-10.ckpt", 10, [])
    observed("--resume auto takes step 10, though its file is the oldest and sorts before step-9.ckpt")


def test_of_one_step_the_last_one_is_taken(run):
    for name in ("best.ckpt", "previous.ckpt", "aaa.ckpt", "zzz.ckpt"):
        write_step(run, name, 4, run / "last.ckpt")
    assert newest(run)[0].path.name == "last.ckpt"
    (run / "last.ckpt").unlink()
    assert newest(run)[0].path.name == "previous.ckpt"


def test_a_checkpoint_from_elsewhere_starts_no_run_in_the_folder_of_another(command, capsys, run, finished):
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    status, _, err = cli(capsys, *command(run, "natural", *OPTIONS, f"--ckpt_path={finished / 'last.ckpt'}"))
    assert (status, "already holds a run" in err) == (2, True)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


def test_a_damaged_last_checkpoint_does_not_take_the_place_of_the_whole_one_before(run, monkeypatch):
    """Resumed from previous.ckpt and killed in the first save, a run must find that file again."""
    for suffix in ("", ".sha256"):
        (run / f"previous.ckpt{suffix}").write_bytes((run / f"last.ckpt{suffix}").read_bytes())
    (run / "last.ckpt").write_bytes(b"half")
    content = torch.load(run / "previous.ckpt", weights_only=True)
    monkeypatch.setattr("ard.training.checkpoints.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint(content, run / "last.ckpt")
    assert newest(run)[0].path.name == "previous.ckpt"


def killed(source, target):
    if target.name == "last.ckpt":
        raise KeyboardInterrupt
    os.rename(source, target)


@pytest.mark.parametrize("option", ["--resume=newest", "--resume=auto --ckpt_path=last", "--weights_only=false"])
def test_options_that_make_no_sense(command, capsys, tmp_path, option):
    status, _, err = cli(capsys, *command(tmp_path / "run", "natural", *option.split()))
    assert (status, err.count("\n")) == (2, 1)
    assert not (tmp_path / "run").exists()
