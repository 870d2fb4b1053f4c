"""Checkpoints on disk: whole or absent, checked before they are read, and the previous one kept."""

import hashlib
import os
import re

import pytest
import torch
from tiny import user_error

from ard.core.errors import UserError
from ard.core.files import sha256
from ard.training import checkpoints
from ard.training.checkpoints import AtomicCheckpointIO


@pytest.fixture(scope="module")
def run(fit, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    fit(directory, "natural", "--trainer.max_epochs=2")
    return directory


@pytest.fixture
def damaged(run, tmp_path):
    """A copy of the run's directory, to break."""
    for file in run.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def tensor(value):
    return {"value": torch.full((1000,), float(value))}


@pytest.mark.parametrize("name", ["last", "best", "previous"])
def test_the_digest_lies_beside_every_checkpoint(run, name):
    digest = (run / f"{name}.ckpt.sha256").read_text().split()[0]
    assert digest == hashlib.sha256((run / f"{name}.ckpt").read_bytes()).hexdigest()


def test_the_previous_checkpoint_is_the_one_before_the_last(run):
    epochs = [torch.load(run / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("previous", "last")]
    assert epochs == [0, 1]


@pytest.mark.fault(10)
@pytest.mark.parametrize("where", [0, 0.5, -1])
def test_a_flipped_bit_is_refused(fit, damaged, where, observed):
    content = bytearray((damaged / "last.ckpt").read_bytes())
    content[int(where * len(content)) if where > 0 else where] ^= 1
    (damaged / "last.ckpt").write_bytes(content)
    with user_error(f"{damaged / 'last.ckpt'}.* is damaged") as caught:
        fit(damaged, "natural", "--trainer.max_epochs=3", "--ckpt_path=last")
    observed(f"exit 2: {re.sub(r'[0-9a-f]{12}|[0-9]+(?= bytes)', 'N', str(caught.value))}")


@pytest.mark.fault(9)
@pytest.mark.parametrize("length", [0, 1000])
def test_a_truncated_file_is_refused(fit, damaged, length, observed):
    (damaged / "last.ckpt").write_bytes((damaged / "last.ckpt").read_bytes()[:length])
    with user_error(rf"{damaged / 'last.ckpt'} \({length} bytes\) is damaged") as caught:
        fit(damaged, "natural", "--trainer.max_epochs=3", "--ckpt_path=last")
    observed(f"exit 2: {re.sub(r'[0-9a-f]{12}', 'N', str(caught.value))}")


def test_a_refused_checkpoint_leaves_the_metrics_alone(fit, damaged):
    before = (damaged / "metrics.csv").read_bytes()
    (damaged / "last.ckpt").write_bytes(b"nothing")
    with user_error("is damaged"):
        fit(damaged, "natural", "--trainer.max_epochs=3", "--ckpt_path=last")
    assert (damaged / "metrics.csv").read_bytes() == before


def test_the_previous_checkpoint_resumes(fit, damaged):
    options = ["--trainer.max_epochs=2", f"--ckpt_path={damaged / 'previous.ckpt'}"]
    engine = fit(damaged / "again", "natural", *options).model
    expected = torch.load(damaged / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, expected[name]) for name, value in engine.state_dict().items())


def test_what_is_written_is_read_and_nothing_lies_elsewhere(tmp_path, monkeypatch):
    for name in ("temporary", "run"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    path = tmp_path / "run" / "last.ckpt"
    for value in (1, 2):
        AtomicCheckpointIO().save_checkpoint(tensor(value), path)
    assert torch.equal(AtomicCheckpointIO().load_checkpoint(path)["value"], tensor(2)["value"])
    assert torch.equal(AtomicCheckpointIO().load_checkpoint(path.with_stem("previous"))["value"], tensor(1)["value"])
    expected = {f"{name}{suffix}" for name in ("last.ckpt", "previous.ckpt") for suffix in ("", ".sha256")}
    assert {file.name for file in path.parent.iterdir()} == expected
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.fault(39)
def test_a_write_that_fails_keeps_what_there_was(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(tensor(1), path)

    def full(_, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with user_error("last.ckpt: cannot be written .No space left on device"):
        AtomicCheckpointIO().save_checkpoint(tensor(2), path)
    assert [file.name for file in tmp_path.glob(".*")] == []
    assert torch.equal(AtomicCheckpointIO().load_checkpoint(path)["value"], tensor(1)["value"])


@pytest.mark.fault(3)
@pytest.mark.parametrize("moment", range(4))
def test_a_kill_between_two_moves_leaves_a_recent_checkpoint(tmp_path, monkeypatch, moment):
    """While the third is written, at least the second can always be read, by one of the two names."""
    path, moves, replace = tmp_path / "last.ckpt", [], os.replace
    for value in (1, 2):
        AtomicCheckpointIO().save_checkpoint(tensor(value), path)

    def killing(source, target):
        if len(moves) == moment:
            raise KeyboardInterrupt
        moves.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", killing)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint(tensor(3), path)
    assert max(readable(path), readable(path.with_stem("previous"))) >= 2


def readable(path):
    """The value in a checkpoint that is accepted, else 0."""
    try:
        return AtomicCheckpointIO().load_checkpoint(path)["value"][0].item()
    except (UserError, FileNotFoundError):
        return 0


@pytest.mark.fault(39)
def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with user_error("file/last.ckpt: cannot be written"):
        AtomicCheckpointIO().save_checkpoint(tensor(1), tmp_path / "file" / "last.ckpt")
    with user_error("proc/last.ckpt: cannot be written"):
        AtomicCheckpointIO().save_checkpoint(tensor(1), "/proc/last.ckpt")  # read-only, even for root


def test_a_checkpoint_that_is_removed_takes_its_digest_along(tmp_path):
    path = tmp_path / "best.ckpt"
    AtomicCheckpointIO().save_checkpoint(tensor(1), path)
    AtomicCheckpointIO().remove_checkpoint(path)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_is_kept_already_leaves_no_second_name(tmp_path):
    """A run was killed between keeping its checkpoint and replacing it, and keeps it once more."""
    from ard.training.checkpoints import _keep_as

    (tmp_path / "last.ckpt").write_bytes(b"whole")
    for _ in range(2):
        _keep_as(tmp_path / "last.ckpt", tmp_path / "previous.ckpt")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


def test_an_evaluation_whose_lock_cannot_be_opened_ends_in_one_line(tmp_path):
    from ard.core.errors import UserError
    from ard.evaluation.blocks import Store

    (tmp_path / "blocks.lock").mkdir()
    with pytest.raises(UserError, match=r"blocks.lock: cannot be written"), Store(tmp_path / "blocks").alone():
        pass


def test_what_has_not_changed_is_neither_digested_nor_written_again(tmp_path, monkeypatch):
    """best.ckpt is written and read back; last.ckpt is its second name, and the one before is known to be whole."""
    read, written = [], []
    monkeypatch.setattr(checkpoints, "sha256", lambda path: read.append(path) or sha256(path))
    monkeypatch.setattr(torch, "save", lambda *args, save=torch.save: written.append(1) or save(*args))
    writer, best, last = AtomicCheckpointIO(), tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    for value in (1, 2):
        writer.save_checkpoint(tensor(value), best)
        with writer.saving_the_same_as(str(best)):
            writer.save_checkpoint(tensor(value), last)
    assert (len(read), len(written)) == (2, 2)
    assert last.samefile(best)
    assert [readable(file) for file in (best, last, last.with_stem("previous"))] == [2, 2, 1]
    writer.save_checkpoint(tensor(3), last)  # an epoch that is not the best
    assert [readable(file) for file in (best, last, last.with_stem("previous"))] == [2, 3, 2]


@pytest.mark.parametrize("how", ["no hard links", "written to since"])
def test_what_cannot_be_shared_is_written(tmp_path, monkeypatch, how):
    writer, best, last = AtomicCheckpointIO(), tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    writer.save_checkpoint(tensor(1), best)
    if how == "no hard links":
        monkeypatch.setattr(os, "link", lambda *_: os.stat("/nowhere"))
    else:
        best.write_bytes(b"half")
    with writer.saving_the_same_as(str(best)):
        writer.save_checkpoint(tensor(1), last)
    assert readable(last) == 1
    assert not last.samefile(best)


def test_a_checkpoint_that_somebody_wrote_to_is_not_kept(tmp_path):
    writer, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    for value in (1, 2):
        writer.save_checkpoint(tensor(value), path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    writer.save_checkpoint(tensor(3), path)
    assert [readable(path), readable(path.with_stem("previous"))] == [3, 1]


@pytest.mark.fault(3)
@pytest.mark.parametrize("moment", range(4))
def test_a_kill_while_the_best_becomes_the_last_leaves_a_recent_checkpoint(tmp_path, monkeypatch, moment):
    writer, best, last = AtomicCheckpointIO(), tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    writer.save_checkpoint(tensor(1), last)
    writer.save_checkpoint(tensor(2), best)
    moves, replace = [], os.replace

    def killing(source, target):
        if len(moves) == moment:
            raise KeyboardInterrupt
        moves.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", killing)
    with pytest.raises(KeyboardInterrupt), writer.saving_the_same_as(str(best)):
        writer.save_checkpoint(tensor(2), last)
    assert readable(best) == 2
    assert max(readable(last), readable(last.with_stem("previous"))) >= 1


def test_a_new_best_is_one_file_with_the_last(run):
    """The first epoch of a run is always the best so far, and it is the checkpoint before the last of this one."""
    first = torch.load(run / "previous.ckpt", weights_only=True)
    names = {state["best_model_path"].rsplit("/")[-1] for key, state in first["callbacks"].items() if "Kept" in key}
    assert names == {"best.ckpt", "last.ckpt"}
    assert any((run / "best.ckpt").samefile(run / name) for name in ("last.ckpt", "previous.ckpt"))
