"""`~` and variables of the environment, wherever somebody may name a file; and nothing is ever called `~`."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_runs import cli, write_weights
from tiny import user_error

from ard.cli.refusals import check_files, check_run
from ard.cli.short_words import expanded, run_folder
from ard.core.user_paths import written_out
from ard.data import Digits
from ard.data.mixed import Mixed
from ard.models import Frozen, load
from ard.models.robustbench import RobustBench


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home and a variable; the current folder is another, which nothing is written to."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNS", str(tmp_path / "home" / "runs"))
    monkeypatch.chdir(tmp_path / "here")
    yield tmp_path / "home"
    assert list((tmp_path / "here").iterdir()) == []
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(("~", "$"))]


def test_what_is_written_out(home):
    tree = {"a": ["~/x", ("$RUNS", 1)], "b": "$NOWHERE/~", "c": {"d": None}}
    assert written_out(tree) == {"a": [f"{home}/x", (f"{home}/runs", 1)], "b": "$NOWHERE/~", "c": {"d": None}}


@pytest.mark.usefixtures("short_attacks")
def test_a_run_in_a_home_is_found_again_by_every_verb(home, fit, teacher_file, capsys, monkeypatch):
    shutil.copy(teacher_file, home / "teacher.safetensors")
    (home / "more.yaml").write_text("model: {init_args: {training: {lr: 0.05}}}")
    words = ["rslad", "--logger=tensorboard", "-c=~/more.yaml", "--model.teacher.init_args.weights=~/teacher.safetensors"]
    fit("$RUNS/mine", *words)
    run = home / "runs" / "mine"
    assert {"metrics.csv", "last.ckpt", "student.safetensors", "tensorboard"} <= {file.name for file in run.iterdir()}
    capsys.readouterr()
    fit("~/runs/mine", *words, "--resume=auto")
    assert f"resuming from {run}/last.ckpt" in capsys.readouterr().err

    (home / "data.yaml").write_text("data: {class_path: ard.data.Digits, init_args: {val_size: 200}}")
    words = ["evaluate", "~/runs/mine", "--data=~/data.yaml", "--undefended=$RUNS/mine/last.safetensors", "--limit=10"]
    status, _, err = cli(capsys, *words)
    assert (status in (0, 3), err) == (True, "")
    monkeypatch.setattr("ard.report.comparison.Comparison._draw", lambda *_: "no picture")
    assert cli(capsys, "compare", "~/runs", "--out=~/table")[0] == 0
    assert (home / "table" / "table.md").is_file()
    assert len(load("~/runs/mine").state_dict()) > 0


def test_places_that_python_names(home):
    np.savez(home / "more.npz", image=np.zeros((4, 8, 8, 1), np.uint8))
    write_weights(home / "t.safetensors")
    assert len(Mixed(base=Digits(), others="~/more.npz").others) == 4
    assert Frozen(weights="~/t.safetensors").load(num_classes=10, input_shape=(1, 8, 8)).loaded
    assert RobustBench(name="X", folder="$RUNS").weights == f"{home}/runs/cifar10/Linf/X.pt"
    with user_error(f"{home}/no/such.safetensors: no such file"):
        load(Path("~/no/such.safetensors"))


@pytest.mark.parametrize("name", ["2024_01_05", "010", "Trip #3", "yes", "a: b", "[x]"])
def test_a_folder_may_be_called_what_yaml_reads_otherwise(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind in ("cat", "dog"):
        Path(name, kind).mkdir(parents=True)
        for index in range(3):
            Image.new("L", (8, 8)).save(Path(name, kind, f"{index}.png"))
    write_weights(Path(name, "t.safetensors"))
    words = [
        "fit",
        "photos",
        "rslad",
        "--data-dir",
        name,
        "--teacher",
        f"{name}/t.safetensors",
        "--init",
        name,
        "--out",
        name,
    ]
    keys = check_run(expanded(words))
    assert (keys.data["root"], run_folder(words)) == (name, Path(name))
    assert set(keys.files.values()) == {f"{name}/t.safetensors", name}
    del keys.files["model", "init"]
    check_files(keys)
