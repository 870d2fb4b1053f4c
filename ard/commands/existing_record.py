"""The record that already lies beside the weights: a quick look does not replace a measurement that says more."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ard.artifacts.paths import record_of
from ard.commands.display import summary
from ard.commands.subject import Subject
from ard.core.errors import UserError
from ard.core.files import sha256
from ard.evaluation.request import Request


def written(path: Path, key: str) -> dict[str, Any] | None:
    """The record of this very evaluation, written by another process."""
    try:
        record = dict(json.loads(path.read_text()))
        summary(record, path, path)
        return record if record["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # none, or not a whole one
        return None


def check_nothing_lost(subject: Subject, request: Request, attacks: Collection[str]) -> None:
    """Raises UserError where the record of these weights holds what `attacks` on these images would not say again.

    That is more images, other attacks, other data or another threat. Records of former weights say nothing of these.
    """
    from ard.report.reading import read_record

    path = record_of(subject.weights)
    try:
        former = read_record(path)[0]
    except UserError:  # none, or not a whole one
        return
    if request.replace or former["weights"]["sha256"] != sha256(subject.weights):
        return
    lost = [name for name in (attack["name"] for attack in former["attacks"]) if name not in attacks]
    now = _place(subject.section["name"], request.split, subject.ball.norm, subject.ball.eps)
    then = _place(former["dataset"]["name"], former["split"], former["threat"]["norm"], former["threat"]["eps"])
    if lost or former["n"] > len(subject.y) or now != then:
        beyond = f" ({', '.join(lost[:3])}{', …' if len(lost) > 3 else ''} would be lost)" if lost else ""
        raise UserError(
            f"{path} holds suite {former['suite']}, n = {former['n']}, {then}{beyond}; suite {request.suite}, "
            f"n = {len(subject.y)}, {now} would replace it: add --replace, or evaluate a copy of the weights elsewhere"
        )


def _place(data: str, split: str, norm: str, eps: float) -> str:
    return f"{data} {split}, {norm} {eps:.6g}"
