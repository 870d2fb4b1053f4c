"""ard.fit, ard.evaluate and ard.compare: each the same as its verb."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pytorch_lightning import LightningDataModule
from safetensors.torch import load_file
from small_runs import cli, digits, trained, write_weights
from tiny import user_error
from torch.utils.data import DataLoader, TensorDataset

import ard
from ard.artifacts.paths import record_of
from ard.artifacts.record_file import read_record
from ard.artifacts.record_parts import RunInfo
from ard.artifacts.weights import card_of
from ard.calls.fitting import written_radius

pytestmark = pytest.mark.usefixtures("short_attacks")

FEW = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.accelerator=cpu"]
FEW += ["--trainer.enable_progress_bar=false"]
TIMES = {"seconds": 0, "time": None, "images_per_s": None, "attacks": (), "key": None, "digest": ""}


@pytest.fixture(scope="module")
def run(tmp_path_factory, teacher_file):
    """A run by the call, and the folder for one by the verb."""
    folder = tmp_path_factory.mktemp("runs")
    options = {"data": "digits", "epochs": 1, "batch_size": 32, "lr": 0.05, "eps": 8 / 255, "seed": 3, "average": 0.9}
    options |= {"precision": "32-true", "options": FEW}
    return ard.fit("RSLAD", teacher=str(teacher_file), out=folder / "call", **options), folder


def test_a_run_is_that_of_the_verb(run, capsys, teacher_file, monkeypatch):
    result, folder = run
    monkeypatch.chdir(folder)
    words = ["--trainer.max_epochs=1", "--trainer.precision=32-true", f"--trainer.default_root_dir={folder / 'verb'}"]
    words += ["--data.init_args.batch_size=32", "--seed_everything=3"]
    model = ["threat.init_args.eps=8/255", "training.lr=0.05", "training.average=0.9"]
    words += [f"--model.init_args.{part}" for part in (*model, f"teacher.init_args.weights={teacher_file}")]
    status, *_ = cli(capsys, "fit", "-c", "digits", "-c", "methods/rslad", *words, *FEW)
    assert status == 0
    by_verb = folder / "verb" / "student.safetensors"
    ours, theirs = load_file(result.weights), load_file(by_verb)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert card_of(result.weights).training.config_digest == card_of(by_verb).training.config_digest
    assert {file.name for file in result.folder.iterdir()} == {file.name for file in by_verb.parent.iterdir()}


def test_what_a_run_gives(run):
    result, folder = run
    assert (result.folder, result.weights) == (folder / "call", folder / "call" / "student.safetensors")
    assert set(result.accuracies) == {"clean", "robust"}
    assert 0 <= result.accuracies["robust"] <= 1
    assert card_of(result.weights).training.processes is None  # one
    assert result.model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(("gpus", "devices", "said"), [(1, None, None), (4, None, "1"), (4, 2, "2"), (4, "auto", "auto")])
def test_a_run_is_on_one_device_unless_more_are_asked_for(gpus, devices, said, monkeypatch):
    """On several, what follows in a script would run several times."""
    words = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("ard.calls.fitting.fit_student", words.extend)
    monkeypatch.setattr("ard.calls.fitting.FitResult.of", lambda folder: folder)
    ard.fit("natural", data="digits", devices=devices)
    assert [word for word in words if word.startswith("--devices")] == ([f"--devices={said}"] if said else [])


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({}, "checkpoints/digits/natural/seed0"),
        ({"seed": 4}, "checkpoints/digits/natural/seed4"),
        ({"out": "mine"}, "mine"),
        ({"options": ["--out=2026_11"]}, "2026_11"),
        ({"options": ["--trainer.default_root_dir=mine", "--seed=5"]}, "mine"),
        ({"options": ["--seed=5"]}, "checkpoints/digits/natural/seed5"),
        ({"options": ["-c", "more.yaml"]}, "of a file"),
        ({"out": "mine", "options": ["-c", "more.yaml"]}, "mine"),
    ],
)
def test_the_result_is_of_the_folder_that_was_written(given, folder, monkeypatch, tmp_path):
    """Whichever word named it: that of another run may lie in the folder that a run has by default."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "more.yaml").write_text("trainer: {default_root_dir: of a file}")
    monkeypatch.setattr("ard.calls.fitting.fit_student", lambda _: None)
    monkeypatch.setattr("ard.calls.fitting.FitResult.of", lambda folder: folder)
    assert str(ard.fit("natural", data="digits", **given)) == folder


@pytest.mark.parametrize(
    ("eps", "text"), [(8 / 255, "8/255"), ("8/255", "8/255"), (0.15, "0.15"), (0.123456789, "0.123456789")]
)
def test_a_radius_is_written_in_one_way(eps, text):
    assert written_radius(eps) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "rslaad", "data": "digits"}, "no such method; did you mean 'rslad'"),
        ({"method": "pgd_at", "data": "digit"}, "digit: no such base config; did you mean 'digits'"),
        ({"method": "pgd_at", "data": "digits", "student": "mobilenet_v3"}, "did you mean 'MobileNetV2'"),
        ({"method": "rslad", "data": "digits", "teacher": "."}, "is a folder; expected weights"),
        ({"method": "rslad", "data": "digits", "teacher": "no.safetensors"}, "no.safetensors"),
        ({"method": "pgd_at", "data": "digits", "eps": 8}, "did you mean 8/255"),
        ({"method": "pgd_at", "data": "digits", "out": ""}, "'' names no folder: expected one"),
    ],
)
def test_mistakes_of_a_run_are_one_line(arguments, message, place):  # noqa: ARG001
    with user_error(message):
        ard.fit(**arguments)


@pytest.mark.parametrize(("call", "given"), [("fit", ["pgd_at"]), ("evaluate", [None]), ("compare", [[]])])
def test_an_argument_that_a_call_does_not_have_is_one_line(call, given):
    with user_error(f"ard.{call} has no argument 'attack': expected one of "):
        getattr(ard, call)(*given, attack=lambda ball: ball)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp("weights") / "student.safetensors")


def timeless(record):
    return replace(record, **TIMES)


def test_weights_are_evaluated_as_by_the_verb(weights, capsys):
    record = ard.evaluate(weights, limit=50)
    assert record == replace(read_record(record_of(weights)), digest="")
    cli(capsys, "evaluate", weights, "--limit", "50")
    assert timeless(read_record(record_of(weights))) == timeless(record)
    assert ard.evaluate(weights.parent, limit=50).key == record.key


def test_a_network_in_memory_has_the_numbers_of_its_file(weights):
    of_file = ard.evaluate(weights, limit=50)
    of_network = ard.evaluate(trained().train(), "digits", eps=of_file.threat.eps, limit=50)
    assert of_network.bits == of_file.bits
    assert of_network.dataset.digest == of_file.dataset.digest
    assert (of_network.weights.path, of_network.dataset.name) == ("in memory", "Digits")


def test_networks_come_back_as_they_were_lent(monkeypatch):
    def evaluated(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ard.calls.evaluating.evaluate_images", evaluated)
    network, teacher = trained().train(), trained().train()
    with pytest.raises(KeyboardInterrupt):
        ard.evaluate(network, digits(20), threat=ard.Linf(0.1), teacher=teacher, suite="full")
    assert (network.training, teacher.training) == (True, True)


def test_a_teacher_of_other_classes_is_refused_before_the_first_attack(monkeypatch):
    """As the verb does; its attack comes late."""
    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 7))
    monkeypatch.setattr("ard.evaluation.evaluation.judge_block", lambda *_, **__: pytest.fail("it was attacked"))
    with user_error("the teacher answers with 7 classes, data has 10 classes"):
        ard.evaluate(trained(), digits(20), threat=ard.Linf(0.1), teacher=teacher, suite="full")


@pytest.mark.parametrize("kind", ["pair", "loader", "uint8"])
def test_images_come_from_whatever_holds_them(kind):
    x, y = digits(60)
    expected = ard.evaluate(trained(), (x[:40], y[:40]), threat=ard.Linf(0.1))
    levels = (x * 255).round().to(torch.uint8) if kind == "uint8" else x
    data = (x[:40], y[:40]) if kind == "pair" else DataLoader(TensorDataset(levels, y), batch_size=16)
    found = ard.evaluate(trained(), data, threat=ard.Linf(0.1), limit=40 if kind != "pair" else None)
    assert (found.n, found.bits) == (40, expected.bits)


def test_a_data_module_of_lightning_shows_the_split_that_is_asked_for():
    class Module(LightningDataModule):
        def val_dataloader(self):
            return DataLoader(TensorDataset(*digits(10)), batch_size=5)

        def test_dataloader(self):
            return DataLoader(TensorDataset(*digits(20)), batch_size=5)

    found = [ard.evaluate(trained(), Module(), threat=ard.Linf(0.1), split=split).n for split in ("val", "test")]
    assert found == [10, 20]


def test_a_record_prints_itself(weights):
    lines = str(ard.evaluate(weights, limit=50)).splitlines()
    assert lines[0].startswith("Digits test, n = 50, Linf ")
    assert "clean" in lines[1]
    assert "worst case" in lines[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"data": "digits"}, r"expected threat=, such as ard.Linf\(8/255\)"),
        ({"eps": 0.1}, "does not know its images: expected a Dataset, a loader"),
        ({"data": [], "eps": 0.1}, "loader is empty"),
        (
            {"data": (digits(9)[0], digits(8)[1]), "eps": 0.1},
            r"\(9, 1, 8, 8\) and labels \(8,\): expected a label for",
        ),
        (
            {"data": [digits(9), (digits(4)[0], digits(8)[1])], "eps": 0.1},
            r"\(4, 1, 8, 8\) and labels \(8,\): expected",
        ),
        ({"data": (digits(9)[0], torch.tensor(3)), "eps": 0.1}, r"labels \(\): expected a label"),
        ({"data": "digits", "eps": 0.1, "split": "train"}, "split train: expected one of test, val"),
        ({"data": "digits", "eps": 0.1, "seed": 1.5}, "seed 1.5: expected an int from 0"),
        ({"data": "digits", "threat": 8 / 255}, r"threat = 0.03.*: expected a ball such as ard.Linf\(8/255\), or eps=8/255"),
        ({"data": "digits", "eps": 0.1, "limit": "10"}, "limit = '10': expected a whole number"),
        ({"data": [digits(4)], "eps": 0.1, "limit": -5}, "limit = -5: expected 1 or more images"),
        ({"data": "configs/methods/rslad.yaml", "eps": 0.1}, "no `data:` section with a class_path; expected a base config"),
        ({"data": "digits", "eps": 0.1, "limit": 401}, "expected 1 to 400"),
        ({"data": "digits", "eps": 0.1, "suite": "fast"}, "expected one of quick, standard, full"),
        ({"data": "digits", "eps": 0.1, "teacher": trained()}, "teacher has no effect in the suite quick"),
        ({"data": "digits", "eps": 0.1, "teacher": "teacher.pt"}, "expected two networks"),
        ({"data": [(digits(4)[0] - 0.5, digits(4)[1])], "eps": 0.1}, r"expected \[0, 1\]: take Normalize out"),
    ],
)
def test_mistakes_of_an_evaluation_are_one_line(arguments, message):
    with user_error(message):
        ard.evaluate(trained(), **arguments)


def test_weights_are_not_evaluated_on_images_in_memory(weights):
    with user_error("expected a network, such as ard.load"):
        ard.evaluate(weights, digits(4))


def test_a_comparison_is_that_of_the_verb(weights, tmp_path):
    record = ard.evaluate(weights, limit=50)
    table = ard.compare([weights.parent], out=tmp_path)
    with user_error("'' names no folder: expected one, or leave it out"):
        ard.compare(weights.parent, out="")
    written = Path(tmp_path, "table.md").read_text()
    assert written.startswith(table.to_markdown())
    assert str(table) == table.to_markdown()
    assert ard.compare(weights.parent).to_markdown() == ard.compare(str(weights.parent)).to_markdown()
    both = ard.compare({"mine": record, "file": weights.parent})
    assert [row.method for row in both.rows] == ["file", "mine"]


def test_rows_are_called_as_they_were_given(weights):
    record = ard.evaluate(weights, limit=50)
    of_a_run = RunInfo(study="s", method="ard", role="student", checkpoint="best", seed=0, swept={}, teachers={})
    named = replace(record, run=of_a_run)
    for names in (["seed0", "seed1"], ["1", "2"], ["kd/T=4", "ard/T=4"], ["same", "other"]):
        one, two = record, named if names[0] == "same" else replace(record, seconds=record.seconds + 1)
        assert sorted(row.method for row in ard.compare(dict(zip(names, [one, two], strict=True))).rows) == sorted(names)
    assert [row.method for row in ard.compare([named]).rows] == ["ard"]
    with user_error("1 is no name of a row: expected a text"):
        ard.compare({1: record})


def test_nothing_to_compare_is_said(tmp_path):
    for runs in (3, None):
        with user_error(f"runs = {runs}: expected folders of runs, or records"):
            ard.compare(runs)
    with user_error("nothing to compare"):
        ard.compare([])
    with user_error("found no evaluation.json"):
        ard.compare([tmp_path])
    (tmp_path / "evaluation.json").write_text("{}")
    for runs in ("", [""], {"mine": ""}):
        with user_error("'' names no folder: expected one, or leave it out"):
            ard.compare(runs)
    with user_error("evaluation.json is a file: expected the folder of a run, such as "):
        ard.compare(tmp_path / "evaluation.json")


def test_an_empty_name_is_no_name_of_weights(weights):
    for call in (lambda: ard.evaluate(""), lambda: ard.evaluate(weights, suite="standard", teacher="")):
        with user_error("'' names no weights: expected a file, a run's folder"):
            call()


def test_a_notebook_is_told_what_there_is():
    assert {"fit", "evaluate", "compare", "load", "Linf", "models"} <= set(dir(ard))
    assert all(hasattr(ard, name) for name in dir(ard))


def test_a_dataset_is_evaluated_as_its_tensors_are(capsys):
    x, y = digits(20)
    records = [ard.evaluate(trained(), data, threat=ard.Linf(0.1)) for data in ((x, y), TensorDataset(x, y))]
    assert records[0].bits == records[1].bits
    assert capsys.readouterr().out == f"{records[0]}\n{records[1]}\n"
    assert records[0].time.wall_seconds > 0
