"""What a study must not touch: runs that it did not begin, and those that are alive."""

import pytest


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
    def locked(*_):
        raise BlockingIOError

    study()
    folder = study_place / "checkpoints" / "tiny" / "ard" / "seed0"
    monkeypatch.setattr("ard.core.locks.fcntl.lockf", locked)
    status, out, err = study(overrides={"ard": {"trainer.max_epochs": 2}})
    assert (status, (folder / "student.safetensors").is_file()) == (1, True)
    assert "another run is writing here" in out + err
