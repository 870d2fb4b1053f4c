"""Cards that name a class of somebody else, anywhere: one line, and no module of the current folder is imported."""

import sys

import pytest
from small_runs import DATA, cli, write_weights

DIGITS = {"class_path": "ard.data.Digits"}
MIXED = {"class_path": "ard.data.Mixed", "init_args": {"base": DIGITS, "others": "more.images.npz"}}


def mixed(base, **arguments):
    return {"class_path": "ard.data.Mixed", "init_args": {"base": base, "others": "more.npz", **arguments}}


NUMBERS = "e.E", "ee.eE", "E.e", "1.e5", "1.5/2", "2.e"  # of which a parser makes none: they may name a file in this folder
HOSTILE = [
    {"class_path": "helper.Data"},
    mixed({"class_path": "helper.Data"}),
    mixed(mixed({"class_path": "helper.Data"})),
    mixed([{"class_path": "helper.Data"}]),
    mixed("helper.Data"),
    mixed('{"class_path": "helper.Data"}'),
    mixed("{class_path: helper.Data}"),
    mixed(DIGITS, fraction="helper.Data"),
    {"class_path": "ard.data.Mixed", "base": {"class_path": "helper.Data"}, "init_args": {"others": "more.npz"}},
    {"class_path": "ard.data.Mixed", "dict_kwargs": {"base": {"class_path": "helper.Data"}}},
    {**DATA, "init_args": {**DATA["init_args"], "seed": {"class_path": "helper.Data"}}},
    {"class_path": {"class_path": "helper.Data"}},
    {"class_path": "ard.data.helper.Data"},
    {"class_path": "ard.data.base.DataModule"},
    {"class_path": "ard.data.cifar.os.system", "init_args": {"command": "touch marker"}},
    {"class_path": "ard.data.os.system", "dict_kwargs": {"command": "touch marker"}},
    mixed({"class_path": "ard.data.npz_images.zipfile.ZipFile", "init_args": {"file": "marker", "mode": "w"}}),
    mixed(DIGITS, others={"class_path": "helper.Data"}),
    mixed({"class_path": "ard.data.Digits", "init_args": {"seed": [[{"x": {"class_path": "helper.Data"}}]]}}),
    {"class_path": "ard.data.Mixed", "init_args.base": {"class_path": "helper.Data"}, "init_args": {"others": "x"}},
    {"class_path": "ard.data.Mixed", "init_args.base": "helper.Data", "init_args": {"others": "x"}},
    mixed(["helper.Data"]),
    mixed({"init_args": {"base": "helper.Data"}}),
    *(mixed(name) for name in NUMBERS),
]


@pytest.fixture
def helper(place, monkeypatch):
    """A module in the current folder that leaves a mark when it is imported."""
    modules = {"helper", *(name.partition(".")[0] for name in NUMBERS)}
    for name in modules:
        (place / f"{name}.py").write_text("open('marker', 'w')\nclass Data: pass\n")
    monkeypatch.syspath_prepend(place)
    yield place
    assert not modules & set(sys.modules)
    assert not (place / "marker").exists()


@pytest.mark.fault(57)
@pytest.mark.parametrize("section", HOSTILE, ids=str)
def test_no_name_in_a_card_is_imported(section, helper, capsys):
    weights = write_weights(helper / "student.safetensors", data=section)
    status, out, err = cli(capsys, "test", weights)
    assert (status, out) == (2, "")
    assert err.startswith("ard: ")
    assert err.count("\n") == 1
    assert "pass them with --data FILE.yaml" in err


@pytest.mark.fault(57)
def test_a_word_in_a_card_is_no_file_to_read_names_from(helper, capsys):
    (helper / "evil").write_text("class_path: helper.Data\n")
    weights = write_weights(helper / "student.safetensors", data=mixed("evil"))
    status, out, err = cli(capsys, "test", weights)
    assert (status, out, err.count("\n")) == (2, "", 1)


CIFAR = {"class_path": "ard.data.CIFAR10", "init_args": {"root": "made/by/a/card"}}


@pytest.mark.fault(57)
@pytest.mark.parametrize("section", [CIFAR, mixed(CIFAR)], ids=str)
def test_what_a_card_names_is_not_fetched_and_no_folder_is_made(section, place, capsys, monkeypatch, observed):
    monkeypatch.setattr("torchvision.datasets.utils.download_url", lambda *_: pytest.fail("a download was started"))
    weights = write_weights(place / "student.safetensors", data=section)
    status, out, err = cli(capsys, "test", weights)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "made/by/a/card/ holds no intact CIFAR10; what a file of weights names is not fetched: add --data" in err
    assert [path.name for path in place.iterdir()] == ["student.safetensors"]
    observed(f"exit {status}: {err}")


def test_networks_inside_networks_are_not_imported_either(helper, capsys):
    inner = {"class_path": "helper.Net"}
    card = {"class_path": "ard.models.Normalized", "init_args": {"network": inner, "mean": [0.5], "std": [0.5]}}
    weights = write_weights(helper / "student.safetensors", **card)
    status, _, err = cli(capsys, "evaluate", weights)
    assert status == 2
    assert "asks for helper.Net, which is not a network of ard.models: add --network; a network is an nn.Module" in err


def test_what_is_ours_passes():
    from ard.artifacts.class_paths import check_classes, exported_classes
    from ard.data import DataModule

    for section in (DIGITS, DATA, MIXED):
        check_classes(section, exported_classes(sys.modules["ard.data"], DataModule), "{}")
