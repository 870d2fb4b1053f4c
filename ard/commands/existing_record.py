"""The record already beside the weights: a smaller evaluation does not replace a larger one."""

from collections.abc import Collection
from pathlib import Path

from ard.artifacts.facts import Threat
from ard.artifacts.paths import RecordFiles, record_of, weights_beside
from ard.artifacts.record import Record
from ard.artifacts.record_file import readable_record
from ard.artifacts.record_parts import WeightsFile
from ard.commands.subject import Subject
from ard.core.errors import UserError
from ard.core.files import sha256
from ard.core.text import first_few
from ard.evaluation.request import Request
from ard.evaluation.suites import MORE


def finished_by_another(path: Path, keys: Collection[str]) -> Record | None:
    """The record of this very evaluation, by one of its keys, written by another process."""
    record = readable_record(path)
    return record if record is not None and record.key in keys else None


def check_answers_all(path: Path, record: Record, request: Request) -> None:
    """Raises UserError where the finished record of all shards lacks what one of them asks for."""
    lacking = ["--save-adversarial"] if request.save_adversarial and not _kept(path) else []
    if request.additional_data not in (None, record.additional_data):
        lacking.append("--additional-data")
    lacking += [] if request.answered_by(record) else ["--published"]  # all else that is asked is in the key
    if lacking:
        raise UserError(
            f"{path} is finished, without {lacking[0]}: expected it in every shard from the start; move the record away, "
            "or evaluate without --shard"
        )


def check_nothing_lost(subject: Subject, request: Request, attacks: Collection[str]) -> None:
    """Raises UserError where the record of these weights holds results that `attacks` on these images would not give again.

    That is more images, other attacks, other data, another threat or seed, and kept adversarial images; of other weights
    whose record belongs in the same place, whatever it holds. Records of weights that are no longer there do not count.
    """
    path = record_of(subject.weights)
    existing = readable_record(path)
    if existing is None or request.replace:
        return
    if existing.weights.sha256 != subject.sha256:
        check_weights_gone(path, path, existing.weights, subject)
        return
    lost = [attack.name for attack in existing.attacks if attack.name not in (*attacks, *MORE)]  # these come on demand
    lost += [kept.name for kept in _kept(path) if not request.save_adversarial]
    threat = Threat(norm=subject.ball.norm, eps=subject.ball.eps, eight_bit=request.eight_bit)
    now = f"{subject.section['name']} {request.split}, {threat.words}, seed {request.seed}"
    then = f"{existing.dataset.name} {existing.split}, {existing.threat.words}, seed {existing.seed}"
    if lost or existing.n > len(subject.y) or now != then:
        beyond = f" ({first_few(lost, 3)} would be lost)" if lost else ""
        raise UserError(
            f"{path} holds suite {existing.suite}, n = {existing.n}, {then}{beyond}; suite {request.suite}, "
            f"n = {len(subject.y)}, {now} would replace it: add --replace, or evaluate a copy of the weights elsewhere"
        )


def _kept(record: Path) -> list[Path]:
    """The adversarial images that prove a record."""
    files = RecordFiles(record)
    return [file for file in (files.adversarial, files.adversarial_pngs) if file.exists()]


def check_weights_gone(path: Path, record: Path, theirs: WeightsFile, subject: Subject) -> None:
    """Raises UserError where the weights that `path` is of are still there, as those of last.safetensors beside last.ckpt.

    `record` is where the record of both belongs.
    """
    for file in weights_beside(record):
        if sha256(file) == theirs.sha256:
            raise UserError(
                f"{path} is of {file}, other weights than those that {subject.weights} held; what is found in these would "
                "replace it: add --replace, or look at a copy of the weights elsewhere"
            )
