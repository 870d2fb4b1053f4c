"""What a study is said to cost, against what records of runs counted."""

import pytest
import yaml
from image_files import image_folder
from small_runs import ROOT, workplace, write_yaml
from torch import nn

from ard.artifacts.card import Card
from ard.artifacts.record_file import read_record
from ard.artifacts.weights import save_weights
from ard.bench.measured import speeds
from ard.cli.lightning import resolve_config
from ard.configs.catalogue import find
from ard.models import ResNet
from ard.study.costs import costs, costs_table, repeated
from ard.study.plan import plan
from ard.study.rehearsal import once
from ard.study.resolving import Resolver
from ard.study.study_file import Study

RESULTS = ROOT / "docs/results/digits-first-tier"
COUNTED = ["pgd_at", "trades", "natural", "nfgsm", "ard", "rslad_igdm", "adaad", "mtard", "lbgat", "fast_ard"]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Of a study of the digits, by method."""
    with pytest.MonkeyPatch.context() as patch:
        return found_rows(workplace(tmp_path_factory.mktemp("costs"), patch))


def found_rows(place):
    teachers = {"teachers": {"robust": "digits_resnet"}, "natural_teacher": "digits_natural"}
    study = Study(base="digits", recipes=COUNTED, seeds=[0, 1, 2], **teachers)
    resolve = Resolver(resolve_config)
    runs = plan(once(study), place / "checkpoints/digits", resolve)
    found = costs(runs, {run.name: resolve(run) for run in runs})
    return {row.method: row for row in repeated(found, study)}


def test_a_cost_is_what_runs_counted(rows):
    """A run leaves out the last images of an epoch that fill no batch: 1,152 of 1,197 here, which is 4 %."""
    for name, row in rows.items():
        folder = RESULTS / (name if name.startswith("teachers/") else f"{name}/seed0")
        counted = read_record(folder / "evaluation.json").training.pflop
        assert row.pflop == pytest.approx(counted, rel=0.08), name
        assert row.pflop > counted
        assert row.runs == (1 if row.method.startswith("teachers/") else 3)


@pytest.mark.parametrize("there", [True, False])
def test_a_teacher_that_is_a_file_costs_what_its_network_does(there, tmp_path, monkeypatch):
    """Where there is no such file yet, nobody knows."""
    workplace(tmp_path, monkeypatch)
    wide = {"in_channels": 1, "width": 64, "blocks": [2, 2]}
    card = Card(class_path="ard.models.ResNet", init_args=wide, num_classes=10)
    if there:
        save_weights(tmp_path / "teacher.safetensors", ResNet(num_classes=10, **wide), card)
    given = {"class_path": "ard.models.Frozen", "init_args": {"weights": "teacher.safetensors"}}
    resolve, found = Resolver(resolve_config), {}
    for name, named in (("given", {"given_teacher": given}), ("trained", {"teachers": {"robust": "digits_resnet"}})):
        study = Study(base="digits", recipes=["rslad"], **named)
        runs = plan(once(study), tmp_path / f"checkpoints/{name}", resolve)
        found[name] = {row.method: row for row in costs(runs, {run.name: resolve(run) for run in runs})}
    cost = found["given"]["rslad"].flops_per_image
    assert cost > found["trained"]["rslad"].flops_per_image if there else cost is None


@pytest.mark.parametrize("around", [False, True])
def test_no_image_is_decoded_to_count_the_images_of_an_epoch(around, tmp_path, monkeypatch):
    """Of 4 classes of 20 images 8 are for validation, and 12 have a label: 72 an epoch, or 12."""
    workplace(tmp_path, monkeypatch)
    folder = image_folder(tmp_path / "photos", classes="abcd", per_class=20)
    monkeypatch.setattr("ard.data.image_folder.decode", None)
    data = {"class_path": "ard.data.ImageFolder", "init_args": {"root": str(folder), "size": 8, "val_size": 8}}
    if around:
        data = {"class_path": "ard.data.KnownLabels", "init_args": {"base": data, "labelled": 12}}
    base = write_yaml(tmp_path / "base.yaml", yaml.safe_load(find("digits", "bases").read_text()) | {"data": data})
    resolve = Resolver(lambda words: resolve_config([*words, "--model.init_args.student.init_args.in_channels=3"]))
    runs = plan(Study(base=str(base), recipes=["natural"]), tmp_path / "checkpoints/digits", resolve)
    (row,) = costs(runs, {run.name: resolve(run) for run in runs})
    assert row.images == 40 * (12 if around else 72)


def test_a_name_in_a_teachers_file_is_not_called(tmp_path, monkeypatch):
    """One that only begins as ours do: its network is then not known, nor its cost."""
    workplace(tmp_path, monkeypatch)
    called = []

    def recorded(path: str = "", num_classes: int = 10) -> nn.Module:
        called.append((path, num_classes))
        return nn.Flatten()

    monkeypatch.setattr("ard.models.recorded", recorded, raising=False)
    card = Card(class_path="ard.models.recorded", init_args={"path": "anything"}, num_classes=10)
    save_weights(tmp_path / "teacher.safetensors", ResNet(num_classes=10, in_channels=1, width=8, blocks=[1]), card)
    given = {"class_path": "ard.models.Frozen", "init_args": {"weights": "teacher.safetensors"}}
    resolve, study = Resolver(resolve_config), Study(base="digits", recipes=["rslad"], given_teacher=given)
    runs = plan(once(study), tmp_path / "checkpoints/given", resolve)
    (cost,) = costs(runs, {run.name: resolve(run) for run in runs})
    assert cost.flops_per_image is None
    assert not called


def test_trials_of_unlike_length_and_one_fold_and_growing_steps_cost_what_they_are(tmp_path, monkeypatch):
    workplace(tmp_path, monkeypatch)
    grown = {"model.init_args.attack.init_args.steps": 7, "model.init_args.training.first_steps": 1}
    study = Study(
        base="digits",
        recipes=["pgd_at"],
        conditions={"folds": {"trainer.max_epochs": 10}, "grown": {"trainer.max_epochs": 40, **grown}},
        tune={"model.init_args.training.lr": [0.1, 1]},
        folds=5,
        only_fold=3,
    )
    resolve = Resolver(resolve_config)
    runs = plan(once(study), tmp_path / "checkpoints/digits", resolve)
    found = {row.method: row for row in repeated(costs(runs, {run.name: resolve(run) for run in runs}), study)}
    assert {name: row.runs for name, row in found.items()} == {"trials": 4, "folds/pgd_at": 1, "grown/pgd_at": 1}
    whole, grows = found["folds/pgd_at"], found["grown/pgd_at"]
    assert grows.flops_per_image / whole.flops_per_image == pytest.approx((4 + 1.5) / (7 + 1.5), rel=0.1)
    assert found["trials"].pflop == pytest.approx((whole.pflop + grows.pflop) / 2)


def test_the_table_says_what_is_not_known(rows):
    unknown = rows["ard"].__class__("mine", 3, None, None)
    table = costs_table([*rows.values(), unknown])
    assert "| mine | 3 | not counted | not known | not known |" in table
    assert f"not counting 1 of {len(rows) + 1} rows" in table
    assert "GPU-hours are not known on cpu" in table


def test_a_gpu_that_was_measured_has_the_rate_of_each_student():
    assert {(row["student"], row["lever"]) for row in speeds()} >= {
        ("MobileNetV2", "shipped"),
        ("ResNet-18", "shipped, N-FGSM"),
    }
    assert all(row["tflops"] > 0 for row in speeds())
