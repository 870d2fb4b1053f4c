"""Files that are there and may not be read, may not end, or grow: one line, at once."""

import os
import zipfile

import pytest
import torch
from in_time import in_time
from small_records import first, write
from small_runs import cli, trained, write_weights
from tiny import user_error

from ard.artifacts.checkpoint import read_checkpoint
from ard.artifacts.weights import read_weights
from ard.training.resume import newest


@pytest.fixture
def closed(monkeypatch):
    """closed(folder): for everybody but the superuser, who runs these tests where nobody else does."""

    def close(folder):
        def guarded(call, *, listed):
            def refuse(path, *arguments, **options):
                name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
                if name.startswith(f"{folder}/") or (listed and name == str(folder)):
                    raise PermissionError(13, "Permission denied", name)
                return call(path, *arguments, **options)

            return refuse

        for name in ("stat", "lstat", "open", "listdir", "scandir"):
            monkeypatch.setattr(os, name, guarded(getattr(os, name), listed=name in ("listdir", "scandir")))

    return close


@pytest.mark.fault(64)
@pytest.mark.parametrize("what", ["weights", "teacher", "config", "record"])
def test_a_folder_that_may_not_be_read(what, place, closed, command, capsys, observed):
    (place / "closed").mkdir()
    weights = write_weights(place / "student.safetensors")
    inside = write_weights(place / "closed" / "student.safetensors")
    words = {
        "weights": ["test", inside],
        "teacher": command(place / "run", "ard", f"--model.init_args.teacher.init_args.weights={inside}"),
        "config": ["test", weights, "--data", place / "closed" / "data.yaml"],
        "record": ["verify", place / "closed" / "evaluation.json", weights],
    }[what]
    closed(place / "closed")
    status, out, err = cli(capsys, *words)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    observed(f"exit {status}: {err}")


@pytest.mark.fault(64)
@pytest.mark.parametrize(
    "words",
    [
        ["compare", "runs"],
        ["compare", "runs/open", "--out", "runs/closed/out"],
        ["report", "runs"],
        ["report", "runs/closed/run"],
        ["predict", "student.safetensors", "runs/closed/photo.png"],
        ["predict", "student.safetensors", "runs"],
        ["doctor", "image_folder", "pgd_at", "--data-dir", "photos"],
    ],
    ids=" ".join,
)
def test_a_folder_that_may_not_be_listed_is_not_taken_for_an_empty_one(words, place, closed, capsys, monkeypatch):
    monkeypatch.chdir(place)
    write_weights(place / "student.safetensors")
    record(place / "runs/open/evaluation.json")
    record(place / "runs/closed/run/evaluation.json")
    for name in ("cat", "dog"):
        (place / "photos/train" / name).mkdir(parents=True)
    shut = "photos/train/cat" if "photos" in words else "runs/closed"
    closed(place / shut)
    closed(shut)
    status, out, err = cli(capsys, *words)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert "Permission denied" in err


def test_a_name_that_is_too_long_is_told_in_one_line(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    for words in (["compare", "a" * 300], ["predict", "b" * 300, "c.png"], ["compare", ".", "--out", "a" * 300]):
        record(place / "evaluation.json")
        status, out, err = cli(capsys, *words)
        assert (status, out, err.count("\n")) == (2, "", 1), err


def record(path):
    write(path, first(0.8, 10), first(0.5, 10))


def checkpoint(path, **changes):
    loops = {"fit_loop": {"epoch_progress": {"total": {"processed": 1}}}}
    content = {"state_dict": trained().state_dict(), "loops": loops, "optimizer_states": [], "lr_schedulers": []}
    torch.save(content | {"global_step": 4} | changes, path)
    return path


@pytest.mark.fault(60)
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"\xff" + b"a" * 63),
        lambda path: path.write_text("a" * 63 + "x"),
        lambda path: path.write_text(""),
        lambda path: os.mkfifo(path),
        lambda path: path.symlink_to("/dev/zero"),
    ],
    ids=["a flipped bit", "no digit", "empty", "a pipe", "a device"],
)
def test_a_damaged_digest_beside_a_checkpoint(damage, tmp_path, observed):
    last, previous = checkpoint(tmp_path / "last.ckpt"), checkpoint(tmp_path / "previous.ckpt")
    damage(last.with_name("last.ckpt.sha256"))
    with in_time():
        found, refused = newest(tmp_path)
    assert found.path == previous
    assert "last.ckpt.sha256 is damaged: expected the SHA-256 of last.ckpt, 64 digits" in refused[0]
    observed(f"previous.ckpt is taken: {refused[0]}")


@pytest.mark.fault(62)
def test_weights_of_a_checkpoint_are_compared_with_the_digest_beside_it(tmp_path):
    path = checkpoint(tmp_path / "last.ckpt")
    path.with_name("last.ckpt.sha256").write_text(f"{'a' * 64}  last.ckpt\n")
    with user_error(r"last\.ckpt \(\d+ bytes\) is damaged: SHA-256 .*, expected aaaaaaaaaaaa"):
        read_weights(path)


@pytest.mark.fault(61)
def test_a_checkpoint_that_was_packed_again_is_not_read_as_other_numbers(tmp_path, observed):
    plain, packed = checkpoint(tmp_path / "plain.ckpt"), tmp_path / "packed.ckpt"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    assert read_checkpoint(plain)["global_step"] == 4
    for read in (read_checkpoint, read_weights):
        with user_error(r"packed\.ckpt: refused.*compressed; torch\.save writes its archives uncompressed") as caught:
            read(packed)
    observed(caught.value)


@pytest.mark.fault(61)
def test_an_archive_is_not_unpacked_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    bomb, twice = tmp_path / "bomb.pt", tmp_path / "twice.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data/0", bytes(10**7))
    with zipfile.ZipFile(twice, "w") as archive:
        archive.writestr("twice/data/0", bytes(1000))
        entry = archive.filelist[0]
        archive.filelist += [entry] * 5  # six entries, one content
    for path, words in ((bomb, "compressed"), (twice, "its entries are larger than the file")):
        for read in (read_weights, read_checkpoint):
            with user_error(words):
                read(path)


@pytest.mark.fault(61)
def test_a_view_that_repeats_a_number_is_not_written_out(tmp_path):
    torch.save({"w": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "w.pt")
    with user_error(r"w is \(1000000, 1000000\), which is more than the file holds"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.fault(60)
@pytest.mark.parametrize("kind", ["itself", "deep"])
def test_a_card_or_a_checkpoint_without_end(kind, tmp_path):
    tree = {}
    inside = tree
    for _ in range(100):
        inside["x"] = inside = {}
    tree = tree if kind == "deep" else {"x": tree}
    if kind == "itself":
        tree["x"] = tree
    with user_error("nested deeper than"):
        read_checkpoint(checkpoint(tmp_path / "last.ckpt", callbacks=tree))
    torch.save({"state_dict": {}, "ard": {"data": tree}}, tmp_path / "w.pt")
    with user_error("nested deeper than"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.fault(60)
@pytest.mark.parametrize("odd", ["pipe", "device", "deep", "bytes"])
def test_odd_records(odd, place, capsys, observed):
    path = place / "evaluation.json"
    make = {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "deep": lambda: path.write_text("[" * 100_000),
        "bytes": lambda: path.write_bytes(b"\xff\xfe{}"),
    }
    make[odd]()
    with in_time():
        status, out, err = cli(capsys, "compare", place)
    assert (status, out, err.count("\n")) == (2, "", 1)
    observed(f"{odd}: exit {status}: {err}")
