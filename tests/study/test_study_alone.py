"""What a study must not touch: runs that it did not begin, and those that are alive."""

import fcntl
import os
import signal
import time

import pytest
from prepared import start

from ard.core.locks import alone


@pytest.mark.usefixtures("fake")
def test_a_run_that_no_study_began_is_left_alone(study, study_place):
    """`ard fit` writes where a study of the same name would."""
    folder = study_place / "checkpoints" / "tiny" / "ard" / "seed0"
    folder.mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(b"days of work")
    status, out, err = study()
    assert (status, (folder / "last.ckpt").read_bytes()) == (1, b"days of work")
    assert "ard/seed0 holds a run that no study began: move it away" in out + err


@pytest.mark.usefixtures("fake")
def test_a_run_that_is_alive_is_left_alone(study, study_place, monkeypatch):
    lock = fcntl.lockf

    def locked(file, how):
        if file.name.endswith("/ard/seed0/.lock"):
            raise BlockingIOError
        lock(file, how)

    study()
    folder = study_place / "checkpoints" / "tiny" / "ard" / "seed0"
    monkeypatch.setattr("ard.core.locks.fcntl.lockf", locked)
    monkeypatch.setattr("ard.study.job.PATIENCE", 0.3)
    status, out, err = study(overrides={"ard": {"trainer.max_epochs": 2}})
    assert (status, (folder / "student.safetensors").is_file()) == (1, True)
    assert "another run is writing here" in out + err
    assert out.count("waiting for what is still writing here to end") == 1


@pytest.mark.fault(51)
@pytest.mark.parametrize("marker", [b"", b"00ff", b"\xff\xfe", None], ids=["empty", "half", "noise", "of another config"])
def test_a_study_moves_aside_what_it_does_not_know(study, study_place, fake, observed, marker):
    """A marker that a kill left half-written once cost the checkpoints of the run."""
    folder = study_place / "checkpoints" / "tiny" / "pgd_at" / "seed0"
    changes = {"recipes": ["pgd_at"], "teachers": {}, "overrides": {}}
    study(**changes)
    for run in ("", "-2"):
        (folder / "last.ckpt").write_bytes(b"days of work")
        (folder / "evaluation.json").unlink()
        if marker is None:
            changes["overrides"] = {"pgd_at": {"trainer.max_epochs": 3 + len(run)}}
        else:
            (folder / "digest.txt").write_bytes(marker)
        status, out, err = study(**changes)
        aside = f"checkpoints/tiny.replaced/pgd_at/seed0{run}"
        assert (status, err) == (0, "")
        assert f"what was here is of another configuration or teacher; it is now in {aside}" in out
        assert (study_place / aside / "last.ckpt").read_bytes() == b"days of work"
        assert not (study_place / aside / ".lock").exists()
    assert "replaced" not in (study_place / "checkpoints/tiny/table.md").read_text()
    assert fake.trained() == ["pgd_at/seed0"] * 3
    observed(f"marker {marker}: nothing deleted; said: {next(line for line in out.splitlines() if 'it is now in' in line)}")


@pytest.mark.fault(51)
def test_a_marker_is_whole_or_as_before(study, study_place, fake, monkeypatch, observed):
    """Killed between the opening and the writing of the marker, the next start goes on with the same run."""
    folder, replace = study_place / "checkpoints" / "tiny" / "pgd_at" / "seed0", os.replace
    changes = {"recipes": ["pgd_at"], "teachers": {}, "overrides": {}}

    def fails(source, target):
        if str(target).endswith("digest.txt"):
            raise OSError(5, "Input/output error")
        replace(source, target)

    study(**changes)
    (folder / "evaluation.json").unlink()
    before = (folder / "digest.txt").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        status, _, err = study(**changes)
    assert (status, (folder / "digest.txt").read_bytes()) == (1, before)
    assert "digest.txt: cannot be written (Input/output error)" in err
    fake.commands = []
    assert study(**changes)[0] == 0
    assert "--resume=auto" in fake.commands[0]
    assert not (study_place / "checkpoints" / "tiny.replaced").exists()
    observed("the marker's writing failed: as before, and the next start goes on with the same run")


def hold(folder):
    with alone(folder):
        (folder / "held").touch()
        signal.pause()


@pytest.mark.fault(52)
@pytest.mark.usefixtures("fake")
def test_a_second_study_in_the_same_folder_is_refused(study, study_place, observed):
    folder = study_place / "checkpoints" / "tiny"
    other = start(hold, folder)
    while not (folder / "held").exists():
        time.sleep(0.02)
    status, out, err = study()
    other.kill()
    other.join()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"checkpoints/tiny: another study is running here (process {other.pid} on " in err
    assert sorted(file.name for file in folder.iterdir()) == [".lock", "held"]
    line = err.replace(str(other.pid), "N").replace(os.uname().nodename, "host")
    assert study()[0] == 0
    observed(f"exit {status}: {line}; when the first was killed, the second runs")


@pytest.mark.fault(53)
def test_a_reason_is_of_the_process_that_failed(study, study_place, monkeypatch, observed):
    """Not the last line of what trained here before."""
    log = study_place / "checkpoints" / "tiny" / "pgd_at" / "seed0" / "log.txt"
    monkeypatch.setattr("ard.study.processes.Processes.run", lambda *_: -9)
    monkeypatch.setattr("ard.study.job.Job._begin", lambda _: log.write_text("an old line\n"))
    status, _, err = study(recipes=["pgd_at"], teachers={}, overrides={})
    assert (status, err.count("\n")) == (1, 1)
    assert "pgd_at/seed0: ard fit ended with status -9: it printed nothing (see " in err
    observed(err.strip())


@pytest.mark.usefixtures("fake")
def test_a_study_takes_away_what_a_killed_one_left_half_written(study, study_place):
    stray = study_place / "checkpoints" / "tiny" / ".table.md.77.tmp"
    stray.parent.mkdir(parents=True)
    stray.write_text("half a ta")
    assert study()[0] == 0
    assert not stray.exists()
