"""A record in the shape of RobustBench's model_info files."""

from typing import Any

from ard.artifacts.record import Record
from ard.core.text import radius

DATASETS = ("cifar10", "cifar100", "imagenet")  # those of RobustBench, as it writes them
ONE_PASS = ("ard.models.MobileNetV2", "ard.models.ResNet", "ard.models.WideResNet")


def robustbench_entry(record: Record) -> dict[str, Any]:
    """An entry for RobustBench: accuracies in percent with two digits, None for what a record cannot know.

    `unreliable` is True where a soundness check failed; `footnote` then says why.
    """
    autoattack = record.autoattack_acc
    return {
        "link": None,
        "name": None,
        "authors": None,
        "additional_data": record.additional_data,
        "number_forward_passes": 1 if record.model.innermost.class_path in ONE_PASS else None,
        "dataset": _dataset(record.dataset.name),
        "venue": None,
        "architecture": record.model.architecture,
        "eps": radius(record.threat.eps),
        "clean_acc": _percent(record.clean_acc),
        "reported": None,
        "autoattack_acc": None if autoattack is None else _percent(autoattack),
        "footnote": _footnote(record),
        "unreliable": record.verdict == "unreliable",
    }


def _dataset(name: str) -> str:
    """Images that only resemble those of RobustBench, such as CIFAR-10 (JPEG), keep their own name."""
    plain = name.lower().replace("-", "")
    return plain if plain in DATASETS else name


def _footnote(record: Record) -> str:
    measured = f"{record.threat.norm}, {record.n} images of the {record.split} split."
    doubt = record.explained_warning or (record.verdict_in_words if record.word == "upper bound" else "")
    return f"{measured} {doubt}." if doubt else measured


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"
