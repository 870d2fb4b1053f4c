"""A record as a Hugging Face model card: README.md of a repository there, with its numbers in `model-index`."""

import json
from pathlib import Path, PurePath
from typing import Any

import yaml

from ard.artifacts.paths import RecordFiles
from ard.artifacts.record import Record
from ard.core.errors import UserError
from ard.core.statistics import wilson_interval
from ard.report.evidence_card import evidence_card
from ard.report.grouping import load_records
from ard.report.robustbench import dataset_name, robustbench_file

USE = """## Use

```python
import ard

network = ard.load({arguments})  # an nn.Module: pixels in [0, 1], (images, channels, height, width) -> logits
```"""


def model_card(record: Record, name: str | None = None) -> str:
    """The evidence card with the metadata of a model card in front; accuracies there are fractions, as in the record.

    `name` is that of the model; by default architecture and method. Of a record that failed a check, no number after an
    attack is in the metadata, and the text has UNRELIABLE with the reasons in its place.
    """
    own = [record.model.architecture, record.run.method if record.run else "", "last" if record.is_last else ""]
    called = name or "-".join(filter(None, own))
    tags = [
        "adversarial-robustness",
        "robust-distillation" if record.teacher else "",
        "unreliable" if record.warning else "",
    ]
    about = {
        "library_name": "ard",
        "pipeline_tag": "image-classification",
        "tags": list(filter(None, tags)),
        "metrics": ["accuracy"],
        "model-index": [{"name": called, "results": [_result(record)]}],
    }
    front = yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=120)
    arguments = json.dumps(PurePath(record.weights.path).name)
    network = record.model.innermost
    if not network.class_path.startswith("ard.models."):  # a name read from a file is never imported
        arguments += f", network={network.class_name if network.class_name.isidentifier() else 'YourNetwork'}"
    use = USE.format(arguments=arguments)
    return f"---\n{front}---\n\n{evidence_card(record)}\n{use}\n"


def model_cards(folder: Path) -> dict[Path, str]:
    """What to write beside every record below a folder: its model card, and RobustBench's entry as this version has it.

    Raises UserError where there is no record, or none of the weights that lie beside it.
    """
    records = load_records([folder])
    current = [stored for stored in records if not stored.is_stale]
    if not current:
        raise UserError(f"{records[0].path} is of other weights than those beside it: evaluate these")
    cards = {RecordFiles(stored.path).model_card: model_card(stored.record) for stored in current}
    return cards | {RecordFiles(stored.path).robustbench: robustbench_file(stored.record) for stored in current}


def _result(record: Record) -> dict[str, Any]:
    data = {"name": record.dataset.name, "type": dataset_name(record.dataset.name), "split": record.split}
    return {
        "task": {"type": "image-classification", "name": "Image classification"},
        "dataset": {**data, "args": {"images": record.n, "digest": record.dataset.digest}},
        "metrics": [_metric("Clean accuracy", record.clean_acc, record.n), *_robust(record)],
    }


def _robust(record: Record) -> list[dict[str, Any]]:
    """The accuracies after attacks; none of an unreliable record."""
    if record.warning:
        return []
    threat = record.threat
    ball = {"norm": threat.norm, "eps": threat.eps, "suite": record.suite, "verdict": record.word}
    found = [_metric(f"Robust accuracy, {threat.words}, worst case over all attacks", record.robust_acc, record.n, **ball)]
    if record.autoattack_acc is not None:
        found.append(_metric(f"Robust accuracy, {threat.words}, AutoAttack", record.autoattack_acc, record.n, **ball))
    return found


def _metric(name: str, accuracy: float, n: int, **more: Any) -> dict[str, Any]:
    interval = [round(end, 6) for end in wilson_interval(accuracy, n)]
    return {"type": "accuracy", "name": name, "value": accuracy, "args": {"interval_95": interval, **more}}
