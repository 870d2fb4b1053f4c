"""ard.report.robustbench: the shape of RobustBench's own files, and nothing that a record cannot know."""

import json
from typing import Any

import pytest
from small_records import dataset, full_record, unreliable
from test_report_card import EXPLAINED

from ard.report.robustbench import robustbench_entry

# model_info/cifar10/Linf/Rice2020Overfitting.json of RobustBench
PUBLISHED = {
    "link": "https://arxiv.org/abs/2002.11569",
    "name": "Overfitting in adversarially robust deep learning",
    "authors": "Leslie Rice, Eric Wong, J. Zico Kolter",
    "additional_data": False,
    "number_forward_passes": 1,
    "dataset": "cifar10",
    "venue": "ICML 2020",
    "architecture": "WideResNet-34-20",
    "eps": "8/255",
    "clean_acc": "85.34",
    "reported": "58",
    "autoattack_acc": "53.42",
}
UNKNOWN = {"link", "name", "authors", "venue", "reported"}


def test_a_record_of_a_published_network_gives_its_published_entry() -> None:
    entry = robustbench_entry(full_record())
    assert list(entry)[: len(PUBLISHED)] == list(PUBLISHED)
    assert {key: entry[key] for key in PUBLISHED} == {**PUBLISHED, **dict.fromkeys(UNKNOWN)}
    assert set(entry) - set(PUBLISHED) == {"external", "footnote", "unreliable"}
    assert entry["unreliable"] is False
    assert json.loads(json.dumps(entry)) == entry


def test_accuracies_have_two_digits() -> None:
    entry = robustbench_entry(full_record(clean_acc=0.9, autoattack_acc=0.0))
    assert (entry["clean_acc"], entry["autoattack_acc"]) == ("90.00", "0.00")


def test_an_accuracy_below_autoattack_is_external_and_its_attacks_are_named() -> None:
    """RobustBench's field for evaluations by others than AutoAttack; as in model_info/cifar10/Linf/Bai2024MixedNUTS.json."""
    entry = robustbench_entry(full_record())
    assert (entry["autoattack_acc"], entry["external"]) == ("53.42", "53.17")
    assert "53.17% robust accuracy is the worst case per image over AutoAttack and PGD-20." in entry["footnote"]
    for record in (full_record(robust_acc=0.5342), full_record(autoattack_acc=None), unreliable()):
        entry = robustbench_entry(record)
        assert entry["external"] is None
        assert "worst case" not in entry["footnote"].replace("worst case per class", "")


def test_images_of_8_bits_are_another_threat_than_autoattacks() -> None:
    entry = robustbench_entry(full_record(threat={"norm": "Linf", "eps": 8 / 255, "eight_bit": True}))
    assert (entry["autoattack_acc"], entry["external"]) == (None, None)
    assert "Attacked images were rounded to 8 bits, which is another threat than AutoAttack's." in entry["footnote"]
    assert "8 bits" not in robustbench_entry(full_record())["footnote"]


def test_without_the_whole_of_autoattack_there_is_no_robust_number() -> None:
    old = full_record(robust_acc=0.5317, autoattack_acc=None, additional_data=None)
    for record in (old, full_record(autoattack_acc=None)):
        entry = robustbench_entry(record)
        assert entry["autoattack_acc"] is None
        assert "53.17" not in json.dumps(entry)
    assert robustbench_entry(old)["additional_data"] is None


def test_an_unreliable_number_is_flagged_with_its_reason() -> None:
    entry = robustbench_entry(unreliable())
    assert entry["unreliable"] is True
    reason = f"{EXPLAINED}."
    assert entry["footnote"] == f"Linf, 10000 images of the test split. {reason}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("CIFAR10", "cifar10"), ("CIFAR-100", "cifar100"), ("CIFAR-10 (JPEG)", "CIFAR-10 (JPEG)"), ("Digits", "Digits")],
)
def test_only_the_images_of_robustbench_go_by_its_names(name: str, shown: str) -> None:
    assert robustbench_entry(full_record(dataset=dataset(name)))["dataset"] == shown


@pytest.mark.parametrize(
    ("network", "architecture", "passes"),
    [
        ({"class_path": "ard.models.WideResNet", "init_args": {"depth": 28, "widen": 10}}, "WideResNet-28-10", 1),
        ({"class_path": "ard.models.Torchvision", "init_args": {"name": "mobilenet_v2"}}, "mobilenet_v2", None),
        ({"class_path": "my.networks.Purified", "init_args": {}}, "Purified", None),
    ],
)
def test_a_wrapper_is_no_architecture(network: dict[str, Any], architecture: str, passes: int | None) -> None:
    wrapped = {"class_path": "ard.models.Normalized", "init_args": {"mean": [0.5], "std": [0.5], "network": network}}
    for model in (network, wrapped):
        entry = robustbench_entry(full_record(model=model))
        assert (entry["architecture"], entry["number_forward_passes"]) == (architecture, passes)


@pytest.mark.parametrize(("eps", "shown"), [(4 / 255, "4/255"), (0.5, "0.5"), (128 / 255, "128/255")])
def test_radii_as_robustbench_writes_them(eps: float, shown: str) -> None:
    assert robustbench_entry(full_record(threat={"norm": "L2", "eps": eps}))["eps"] == shown
