"""Cards that name a class of somebody else, anywhere: one line, and no module of the current folder is imported."""

import sys

import pytest
from small_runs import DATA, cli, write_weights

DIGITS = {"class_path": "ard.data.Digits"}
MIXED = {"class_path": "ard.data.Mixed", "init_args": {"base": DIGITS, "others": "more.images.npz"}}


def mixed(base, **arguments):
    return {"class_path": "ard.data.Mixed", "init_args": {"base": base, "others": "more.npz", **arguments}}


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
]


@pytest.fixture
def helper(place, monkeypatch):
    """A module in the current folder that leaves a mark when it is imported."""
    (place / "helper.py").write_text("open('marker', 'w')\nclass Data: pass\n")
    monkeypatch.syspath_prepend(place)
    yield place
    assert "helper" not in sys.modules
    assert not (place / "marker").exists()


@pytest.mark.parametrize("section", HOSTILE, ids=str)
@pytest.mark.parametrize("verb", ["evaluate", "test"])
def test_no_name_in_a_card_is_imported(section, verb, helper, capsys):
    weights = write_weights(helper / "student.safetensors", data=section)
    status, out, err = cli(capsys, verb, weights)
    assert (status, out) == (2, "")
    assert err.startswith("ard: ")
    assert err.count("\n") == 1
    assert "pass them with --data FILE.yaml" in err


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
