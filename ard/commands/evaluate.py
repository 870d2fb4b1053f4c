"""`ard evaluate`: weights in; record, evidence card and RobustBench entry out."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import ard
from ard.attacks import Radius
from ard.cli.network_option import network_section
from ard.commands.display import announce_cost, progress_bar, summary
from ard.commands.existing_record import check_nothing_lost, record_path, written
from ard.commands.subject import Subject, short_path
from ard.commands.verify import save_adversarial
from ard.core.errors import UserError
from ard.core.files import sha256, write_whole
from ard.evaluation import Evaluation, Given, Store
from ard.evaluation.cascade import BLOCK
from ard.evaluation.measurement import versions
from ard.evaluation.request import Request, split_commas

RESNET18_RECORD = 0.5850  # AutoAttack, CIFAR-10 at 8/255: RobustBench's best network of ResNet-18's size
RESNET18_PARAMETERS = 12e6


def evaluate_file(weights: Path, request: Request) -> str | None:
    """Evaluate one file of weights, write the record beside it, print a summary, and return the verdict.

    None where other shards still have to finish. What was begun by an interrupted call with the same arguments goes on.
    """
    subject = Subject.of(weights, request)
    given, told = _given(subject, request)
    key = _key(subject, request, told)
    store = Store(weights.with_name(f".{record_path(weights).stem}.{key}.blocks"))
    evaluation = Evaluation(
        subject.model,
        subject.x,
        subject.y,
        subject.ball,
        suite=request.suite,
        seed=request.seed,
        classes=list(subject.data.classes),
        given=given,
        store=store,
    )
    names = [adversary.name for adversary in evaluation.adversaries]
    check_nothing_lost(subject, request, names)
    record = None
    if _has_work(weights, request, key, len(subject.y)):
        store.open()
        _attack(evaluation, request, weights)
        with store.alone() as unfinished:
            measured = evaluation.record() if unfinished else None
            if measured is not None:
                check_nothing_lost(subject, request, names)  # a longer evaluation may have ended meanwhile
                record = _complete(measured, subject, request, told, key)
                _write(record, subject, evaluation, request, store.folder)
                store.remove()
    record = record or written(record_path(weights), key)
    if record is None:
        print(f"{weights}: shard {request.shard} is done; the last shard to finish writes the record")
        return None
    print(summary(record, weights, record_path(weights)))
    return str(record["verdict"])


def _has_work(weights: Path, request: Request, key: str, n: int) -> bool:
    """Not so for one shard of more than there are blocks, or of an evaluation whose record lies there."""
    shard, of = request.part
    return shard <= math.ceil(n / BLOCK) and (of == 1 or written(record_path(weights), key) is None)


def _attack(evaluation: Evaluation, request: Request, weights: Path) -> None:
    n, of = len(evaluation.y), request.part[1]
    announce_cost(evaluation.passes * evaluation.seconds_a_pass() * n / BLOCK / of, request.suite, n)
    with progress_bar(str(weights), evaluation.passes * n / of, n) as progress:
        evaluation.judge(request.part, progress)


def _given(subject: Subject, request: Request) -> tuple[Given, dict[str, Any]]:
    """The other networks, and what a record says of them."""
    files = {"teacher": request.teacher, "undefended": request.undefended}
    told: dict[str, Any] = {key: sha256(path) for key, path in files.items() if path}
    sources = {f"{short_path(path)} ({sha256(path)[:8]})": path for path in split_commas(request.transfer)}
    told |= {"transfer": {name: sha256(path) for name, path in sources.items()}} if sources else {}
    given = Given(
        transfer={name: subject.other(path) for name, path in sources.items()},
        teacher=subject.other(request.teacher) if request.teacher else None,
        temperature=request.temperature,
        undefended=subject.other(request.undefended) if request.undefended else None,
        attacks=tuple(split_commas(request.attacks)),
        published=request.published,
        best_known=_best_known(subject),
        teacher_acc=_teacher_acc(subject, request),
    )
    return given, told


def _best_known(subject: Subject) -> float | None:
    parameters = sum(p.numel() for p in subject.model.parameters())
    is_cifar10 = subject.section["class_path"].endswith(".CIFAR10")
    same = is_cifar10 and subject.ball.norm == "Linf" and abs(subject.ball.eps - float(Radius("8/255"))) < 1e-6
    return RESNET18_RECORD if same and parameters <= RESNET18_PARAMETERS else None


def _teacher_acc(subject: Subject, request: Request) -> float | None:
    """Robust accuracy in the record beside the teacher's weights, where that measured the same."""
    from ard.report.reading import read_record

    if not request.teacher:
        return None
    try:
        record = read_record(record_path(Path(request.teacher)))[0]
    except UserError:  # none, or not a whole one
        return None
    if not request.answered_by(record):
        return None
    same = record["dataset"]["digest"] == subject.digest and record["threat"]["eps"] == subject.ball.eps
    return float(record["robust_acc"]) if same else None


def _key(subject: Subject, request: Request, told: dict[str, Any]) -> str:
    """A digest of everything that verdicts depend on: under this name blocks wait for those who go on."""
    key = {
        "weights": sha256(subject.weights),
        "network": network_section(request.network) if request.network else None,
        "data": subject.digest,
        "threat": [subject.ball.norm, subject.ball.eps],
        "request": [request.suite, request.seed, split_commas(request.attacks), request.temperature],
        "given": told,
        "computed by": [versions(), _code(), subject.x.device.type, BLOCK],
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _complete(record: dict[str, Any], subject: Subject, request: Request, told: dict[str, Any], key: str) -> dict[str, Any]:
    return {
        "schema": record.pop("schema"),
        "key": key,
        **subject.provenance,
        "split": request.split,
        "limit": request.limit,
        **record,
        "given": told,
        "additional_data": subject.card.get("additional_data")
        if request.additional_data is None
        else request.additional_data,
        **{key: subject.card.get(key) for key in ("recipe", "teacher", "training")},
    }


def _write(record: dict[str, Any], subject: Subject, evaluation: Evaluation, request: Request, through: Path) -> None:
    """The record last: where it lies, everything else does."""
    from ard.report.evidence_card import evidence_card
    from ard.report.pictures.curve import draw_curve
    from ard.report.robustbench import robustbench_entry

    path = record_path(subject.weights)
    for former in (".adversarial.safetensors", ".curve.png"):  # of a record that this one replaces
        path.with_suffix(former).unlink(missing_ok=True)
    if request.save_adversarial:
        assert evaluation.verdicts is not None
        save_adversarial(path.with_suffix(".adversarial.safetensors"), record, evaluation.verdicts, subject.y, through)
    if record["curve"]:
        draw_curve(record, path.with_suffix(".curve.png"))
    write_whole(path.with_suffix(".md"), evidence_card(record), through=through)
    entry = json.dumps(robustbench_entry(record), indent=2)
    write_whole(path.with_suffix(".robustbench.json"), entry + "\n", through=through)
    write_whole(path, json.dumps(record, indent=1) + "\n", through=through)


def _code() -> str:
    """A digest of our own modules: what other code began is not continued."""
    digest = hashlib.sha256()
    for file in sorted(Path(ard.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
