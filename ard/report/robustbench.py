"""A record in the shape of RobustBench's model_info files."""

import json
from typing import Any

from ard.artifacts.record import Record
from ard.core.text import radius

DATASETS = ("cifar10", "cifar100", "imagenet")  # those of RobustBench, as it writes them
ONE_PASS = ("ard.models.MobileNetV2", "ard.models.ResNet", "ard.models.WideResNet")


def robustbench_entry(record: Record) -> dict[str, Any]:
    """An entry for RobustBench: accuracies in percent with two digits, None for what a record cannot know.

    `external` is the worst case over all attacks where it is below AutoAttack alone: RobustBench ranks by the lower of the
    two. `unreliable` is True where a soundness check failed; `footnote` then says why.
    """
    autoattack = record.autoattack_acc
    return {
        "link": None,
        "name": None,
        "authors": None,
        "additional_data": record.additional_data,
        "number_forward_passes": 1 if record.model.innermost.class_path in ONE_PASS else None,
        "dataset": dataset_name(record.dataset.name),
        "venue": None,
        "architecture": record.model.architecture,
        "eps": radius(record.threat.eps),
        "clean_acc": _percent(record.clean_acc),
        "reported": None,
        "autoattack_acc": None if autoattack is None or record.threat.eight_bit else _percent(autoattack),
        "external": _external(record),
        "footnote": _footnote(record),
        "unreliable": record.verdict == "unreliable",
    }


def robustbench_file(record: Record) -> str:
    """The entry as the text of a file."""
    return json.dumps(robustbench_entry(record), indent=2) + "\n"


def dataset_name(name: str) -> str:
    """As RobustBench and Hugging Face write it; images that only resemble theirs, as CIFAR-10 (JPEG), keep their name."""
    plain = name.lower().replace("-", "")
    return plain if plain in DATASETS else name


def _external(record: Record) -> str | None:
    """The worst case, where it says more than AutoAttack and no check failed."""
    if record.autoattack_acc is None or record.warning or record.threat.eight_bit:
        return None
    worst = _percent(record.robust_acc)
    return worst if float(worst) < float(_percent(record.autoattack_acc)) else None


def _footnote(record: Record) -> str:
    measured = f"{record.threat.norm}, {record.n} images of the {record.split} split."
    if record.threat.eight_bit:
        measured += " Attacked images were rounded to 8 bits, which is another threat than AutoAttack's."
    if external := _external(record):
        others = ", ".join(attack.name for attack in record.attacks if attack.group != "AutoAttack")
        measured += f" {external}% robust accuracy is the worst case per image over AutoAttack and {others}."
    doubt = record.explained_warning or (record.verdict_in_words if record.word == "upper bound" else "")
    return f"{measured} {doubt}." if doubt else measured


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}"
