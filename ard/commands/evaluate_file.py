"""`ard evaluate`: weights in; record, evidence card and RobustBench entry out."""

import math
import shlex
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from ard.artifacts.adversarial import AdversarialImages, claim_of, write_adversarial
from ard.artifacts.adversarial_pngs import check_pngs, remove_pngs, write_pngs
from ard.artifacts.paths import RecordFiles, record_of
from ard.artifacts.record import Record
from ard.artifacts.record_file import readable_record, write_record
from ard.artifacts.record_parts import GivenFiles
from ard.artifacts.run_name import run_of
from ard.artifacts.shown import write_shown
from ard.commands.display import announce_cost, progress_bar, summary
from ard.commands.evaluation_key import evaluation_key
from ard.commands.existing_record import check_answers_all, check_nothing_lost, finished_by_another
from ard.commands.same_network import PreviousEvaluation
from ard.commands.shared_blocks import SharedBlocks
from ard.commands.subject import Subject
from ard.commands.trained_config import training_with_config
from ard.core.devices import take_gpu
from ard.core.files import or_user_error, replaced_since, write_whole
from ard.core.terminal import say
from ard.evaluation import cascade
from ard.evaluation.blocks import Store
from ard.evaluation.evaluation import Evaluation
from ard.evaluation.gallery import gallery_of
from ard.evaluation.rehearsed import check_place
from ard.evaluation.request import Request, split_commas
from ard.evaluation.suites import Given

RESNET18_RECORD = 0.5850  # AutoAttack, CIFAR-10 at 8/255: RobustBench's best network of ResNet-18's size
RESNET18_PARAMETERS = 12e6


class OtherNetworks(NamedTuple):
    """The networks that were given beside the one that is judged.

    Attributes:
        given: Themselves.
        files: What a record says of them.
        sha256_of: The digest of every file that was read, that of the judged network among them, by its path.
    """

    given: Given
    files: GivenFiles
    sha256_of: dict[str, str]


def evaluate_files(files: Sequence[Path], request: Request) -> list[str | None]:
    """Evaluate files of weights one after the other; their verdicts, as evaluate_file returns them."""
    shard, of = request.part
    if of > 1:
        take_gpu(shard - 1)
    before = PreviousEvaluation() if of == 1 else None  # a shard has but its own blocks
    return [evaluate_file(weights, request, before) for weights in files]


def evaluate_file(weights: Path, request: Request, before: PreviousEvaluation | None) -> str | None:
    """Evaluate one file of weights, print a summary, return the verdict; None where other shards still have to finish."""
    record = recorded(weights, request, before)
    if record is None:
        say(f"{weights}: shard {request.shard} is done; the last shard to finish writes the record")
        return None
    say(summary(record, weights, record_of(weights)))
    if request.save_adversarial:
        say(f"next: ard {shlex.join(_verify(weights, request))}")
    return record.word


def _verify(weights: Path, request: Request) -> list[str]:
    """The words of `ard` that judge the kept images anew, in a fresh process."""
    files = RecordFiles(record_of(weights))
    kept = files.adversarial_pngs if request.eight_bit else files.adversarial
    words = ["verify", str(kept), str(weights)]
    for option, value in {"--data": request.data, "--data-dir": request.data_dir, "--network": request.network}.items():
        words += [option, value] if value else []
    return [*words, "--allow-mismatch"] if request.allow_mismatch else words


def recorded(weights: Path, request: Request, before: PreviousEvaluation | None = None) -> Record | None:
    """Evaluate one file of weights, and write the record beside it; the network `before` is not attacked again.

    None where other shards still have to finish. An interrupted call with the same arguments is continued.
    """
    if request.rehearse:
        check_place(weights)
    if request.save_adversarial and request.eight_bit:
        check_pngs(RecordFiles(record_of(weights)).adversarial_pngs)
    subject = Subject.of(weights, request)
    others = _others(subject, request)
    return cascade.as_memory_allows(partial(_recorded, subject, request, before or PreviousEvaluation(), others), subject.x)


def _recorded(
    subject: Subject, request: Request, before: PreviousEvaluation, others: OtherNetworks, block_size: int
) -> Record | None:
    """The record of what `recorded` has read, with so many images attacked at once."""
    place = record_of(subject.weights)
    keys = {size: evaluation_key(subject, request, others.files, size) for size in cascade.block_sizes(subject.x)}
    stores = {size: Store(RecordFiles(place).blocks(key)) for size, key in keys.items()}
    shared = SharedBlocks(stores, block_size, request.part)
    evaluation = _evaluation(subject, request, others.given, shared)
    check_nothing_lost(subject, request, evaluation.names)
    if not _has_work(subject.weights, request, keys.values(), math.ceil(len(subject.y) / block_size)):
        finished = finished_by_another(place, keys.values())
        if finished is not None:
            check_answers_all(place, finished, request)
        return finished
    without_weights = evaluation_key(replace(subject, sha256=""), request, others.files, block_size)
    try:
        before.reuse_blocks(evaluation, subject, without_weights)
        _attack(evaluation, request, subject.weights, shared)
        record = _written_once(evaluation, subject, request, others, shared, keys[block_size])
    except torch.OutOfMemoryError:
        shared.without_memory(len(subject.y))
        raise
    if record is not None:
        before.keep(evaluation, subject, without_weights)
    return record or finished_by_another(place, keys.values())


def _written_once(
    evaluation: Evaluation, subject: Subject, request: Request, others: OtherNetworks, shared: SharedBlocks, key: str
) -> Record | None:
    """The record, written by the process that finishes the last block; None for every other."""
    with shared.store.alone() as unfinished:
        shared.check_size()
        measured = evaluation.record() if unfinished else None
        if measured is None:
            return None
        check_nothing_lost(subject, request, evaluation.names)  # a longer evaluation may have ended meanwhile
        record = _complete(measured, subject, request, others.files, key, replaced_since(others.sha256_of))
        _write(record, subject, evaluation, request, shared.store.folder)
        shared.remove()
        return record


def _evaluation(subject: Subject, request: Request, given: Given, shared: SharedBlocks) -> Evaluation:
    return Evaluation(
        subject.model,
        subject.x,
        subject.y,
        subject.ball,
        suite=request.suite,
        seed=request.seed,
        classes=list(subject.data.classes),
        given=given,
        store=shared.store,
        eight_bit=request.eight_bit,
        rehearse=request.rehearse,
        block_size=shared.block_size,
    )


def _has_work(weights: Path, request: Request, keys: Collection[str], blocks: int) -> bool:
    """Whether there is anything to do: not for a shard beyond the blocks, nor where the record is finished."""
    shard, of = request.part
    return shard <= blocks and (of == 1 or finished_by_another(record_of(weights), keys) is None)


def _attack(evaluation: Evaluation, request: Request, weights: Path, shared: SharedBlocks) -> None:
    shared.check_size()
    shared.store.open()
    n, of = len(evaluation.y), request.part[1]
    if before := evaluation.judged_before(request.part):
        blocks = f"blocks of {evaluation.block_size} images that were judged before: {before}"
        say(f"{blocks}; delete {shared.store.folder} to judge these anew", error=True)
    announce_cost(evaluation.estimate(request.part), request.suite, n)
    with progress_bar(str(weights), evaluation.passes * n / of, n) as progress:
        evaluation.judge(request.part, progress)


def _others(subject: Subject, request: Request) -> OtherNetworks:
    others = [subject.other(path) for path in split_commas(request.transfer)]
    sources = {f"{_folder_and_file(other.path)} ({other.sha256[:8]})": other for other in others}
    teacher = subject.other(request.teacher) if request.teacher else None
    undefended = subject.other(request.undefended) if request.undefended else None
    files = GivenFiles(
        teacher=teacher.sha256 if teacher else None,
        undefended=undefended.sha256 if undefended else None,
        transfer={name: other.sha256 for name, other in sources.items()} or None,
    )
    given = Given(
        transfer={name: other.model for name, other in sources.items()},
        teacher=teacher.model if teacher else None,
        temperature=request.temperature,
        undefended=undefended.model if undefended else None,
        attacks=tuple(split_commas(request.attacks)),
        published=request.published,
        best_known=_best_known(subject),
        teacher_acc=_teacher_acc(subject, request, teacher.sha256) if teacher else None,
    )
    read = {str(subject.weights): subject.sha256, **{one.path: one.sha256 for one in [*others, teacher, undefended] if one}}
    return OtherNetworks(given, files, read)


def _folder_and_file(path: str | Path) -> str:
    """The same from wherever it is called: random starts are keyed by an attack's name."""
    return "/".join(Path(path).resolve().parts[-2:])


def _best_known(subject: Subject) -> float | None:
    parameters = sum(p.numel() for p in subject.model.parameters())
    is_cifar10 = subject.section["class_path"].endswith(".CIFAR10")
    same = is_cifar10 and subject.ball.norm == "Linf" and abs(subject.ball.eps - 8 / 255) < 1e-6
    return RESNET18_RECORD if same and parameters <= RESNET18_PARAMETERS else None


def _teacher_acc(subject: Subject, request: Request, sha256: str) -> float | None:
    """Robust accuracy in the record beside the teacher's weights, where that is of these weights and measured the same."""
    record = readable_record(record_of(request.teacher)) if request.teacher else None
    alone = replace(request, teacher=None, transfer="", undefended=None, published=None)  # its own may have had none
    if record is None or record.weights.sha256 != sha256 or not alone.answered_by(record):
        return None
    same = record.dataset.digest == subject.digest and record.threat.eps == subject.ball.eps
    return record.robust_acc if same else None


def _complete(
    measured: Record, subject: Subject, request: Request, files: GivenFiles, key: str, replaced: Sequence[str]
) -> Record:
    """The measurement with where weights, network and images come from, and which files were replaced meanwhile."""
    card, additional_data = subject.card, request.additional_data
    for line in replaced:
        warnings.warn(line, stacklevel=1)
    return replace(
        measured,
        key=key,
        weights=subject.weights_file,
        model=subject.network_spec,
        dataset=subject.dataset,
        split=request.split,
        limit=request.limit,
        notes=(*measured.notes, *replaced),
        given=files,
        additional_data=card.additional_data if additional_data is None else additional_data,
        recipe=card.recipe,
        teacher=card.teacher,
        training=training_with_config(subject.weights, card),
        run=run_of(subject.weights, card),
        pruned=card.pruned,
    )


def _write(record: Record, subject: Subject, evaluation: Evaluation, request: Request, through: Path) -> None:
    """Write the record last: where it is, all other files are."""
    from ard.report.evidence_card import evidence_card
    from ard.report.pictures.curve import draw_curve
    from ard.report.robustbench import robustbench_file

    files = RecordFiles(record_of(subject.weights))
    for of_the_replaced in (files.adversarial, files.curve, files.shown, files.model_card):
        with or_user_error(of_the_replaced):
            of_the_replaced.unlink(missing_ok=True)
    remove_pngs(files.adversarial_pngs)
    if request.save_adversarial:
        assert evaluation.verdicts is not None
        x_adv, robust = evaluation.verdicts.x_adv, evaluation.verdicts.worst
        images = AdversarialImages(x_adv=x_adv, y=subject.y, robust=robust, claim=claim_of(record))
        if request.eight_bit:
            write_pngs(files.adversarial_pngs, images, through=through)
        else:
            write_adversarial(files.adversarial, images, through=through)
    if record.curve:
        draw_curve(record, files.curve, through=through)
    write_shown(files.shown, gallery_of(evaluation, record), through=through)
    write_whole(files.page, evidence_card(record), through=through)
    write_whole(files.robustbench, robustbench_file(record), through=through)
    write_record(files.record, record, through=through)
