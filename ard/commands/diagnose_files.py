"""What `ard diagnose` does with each file of weights, and how several are shown side by side."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rich.progress import Progress
from safetensors.torch import save
from torch import Tensor, nn

from ard.artifacts.diagnosis import Diagnosis, diagnosis_of, pictures_of, write_diagnosis
from ard.artifacts.facts import Threat
from ard.artifacts.paths import record_of
from ard.artifacts.record_parts import WeightsFile
from ard.commands.diagnosis_table import side_by_side
from ard.commands.existing_diagnosis import EarlierDiagnosis, earlier_levels, together
from ard.commands.initial_student import initial_student
from ard.commands.subject import Other, Subject, short_path
from ard.configs.building import build
from ard.configs.files import read_data
from ard.core.devices import device_name
from ard.core.errors import UserError
from ard.core.files import check_writable, or_user_error, write_whole
from ard.core.pixels import levels_of
from ard.core.terminal import console, say
from ard.data import DataModule, to_pixels
from ard.data.loading import balanced_images
from ard.diagnostics.diagnosing import default_names, diagnose_images
from ard.diagnostics.inspected import PGD_STEPS, Inspected, Track
from ard.evaluation.cascade import evaluation_mode
from ard.evaluation.measurement import versions
from ard.evaluation.request import Request
from ard.models.combined_teachers import Ensemble
from ard.models.frozen import Frozen

T = TypeVar("T")
Pictures = Mapping[str, Mapping[str, Tensor]]  # by diagnostic and name


def diagnose_files(
    files: Sequence[str],
    request: Request,
    teachers: Sequence[str],
    names: Sequence[str] | None,
    *,
    other: str | None,
    limit: int,
    exact: bool,
) -> None:
    """Diagnose each file of weights, write what was found beside it, and print all of it, also where that fails."""
    for file in files:
        check_writable(diagnosis_of(record_of(file)))
    found: list[tuple[str, Diagnosis]] = []
    try:
        for file in files:
            subject = Subject.of(Path(file), request, at_most=limit)
            others = [subject.other(path) for path in teachers]
            of = _inspected(subject, request, others, other=other, limit=limit, exact=exact)
            earlier = EarlierDiagnosis(subject, request, _named(others))
            earlier.kept(list(default_names(of)) if names is None else names)  # before anything is measured
            diagnosis, pictures = _diagnosed(of, subject, request, others, names)
            found.append((file, diagnosis))
            _write(earlier, diagnosis, pictures)
            say(f"{file}: {earlier.path}")
    finally:
        if found:
            say(side_by_side(found))


def _inspected(
    subject: Subject, request: Request, others: Sequence[Other], *, other: str | None, limit: int, exact: bool
) -> Inspected:
    return Inspected(
        student=subject.model,
        x=subject.x,
        y=subject.y,
        ball=subject.ball,
        teacher=_teacher(others, subject),
        initial=initial_student(subject),
        weight_decay=_weight_decay(subject),
        other=None if other is None else _images_of(other, subject, limit),
        seed=request.seed,
        exact=exact,
    )


def _write(earlier: EarlierDiagnosis, diagnosis: Diagnosis, pictures: Pictures) -> None:
    there = earlier.kept([result.name for result in diagnosis.results])  # fewer than were asked for, or another ended first
    levels = earlier_levels(earlier.path, there, diagnosis) if there else {}
    _write_pictures(pictures_of(earlier.path), levels, pictures)
    write_diagnosis(earlier.path, together(there, diagnosis) if there else diagnosis)


def _diagnosed(
    of: Inspected, subject: Subject, request: Request, teachers: Sequence[Other], names: Sequence[str] | None
) -> tuple[Diagnosis, Pictures]:
    start = time.perf_counter()
    with _tracked() as track:
        of = replace(of, track=track)
        diagnosed = diagnose_images(of, names)
    if not diagnosed.results:
        reasons = "; ".join(f"{skipped.name}: {skipped.reason}" for skipped in diagnosed.skipped)
        raise UserError(f"{subject.weights}: nothing could be measured ({reasons})")
    with evaluation_mode(*of.networks):
        clean_acc, robust_acc = of.clean_acc, of.robust_acc
    diagnosis = Diagnosis(
        weights=subject.weights_file,
        model=subject.network_spec,
        teacher=_named(teachers),
        dataset=subject.dataset,
        split=request.split,
        n=len(of.y),
        threat=Threat(norm=of.ball.norm, eps=of.ball.eps),
        seed=of.seed,
        attack=f"PGD-{PGD_STEPS}",
        clean_acc=clean_acc,
        robust_acc=robust_acc,
        results=diagnosed.results,
        skipped=diagnosed.skipped,
        versions=versions(),
        device=device_name(of.x.device),
        seconds=round(time.perf_counter() - start, 2),
    )
    return diagnosis, diagnosed.pictures


def _write_pictures(file: Path, earlier: dict[str, Tensor], pictures: Pictures) -> None:
    """As levels of 8 bits, beside `earlier` ones; without any, a file of an earlier diagnosis goes."""
    levels = earlier | {
        f"{diagnostic}/{name}": levels_of(picture.clamp(0, 1)).cpu().contiguous()
        for diagnostic, found in pictures.items()
        for name, picture in found.items()
    }
    with or_user_error(file):
        if levels:
            write_whole(file, save(levels))
        else:
            file.unlink(missing_ok=True)


def _named(teachers: Sequence[Other]) -> WeightsFile | None:
    """As they were read; several in one entry."""
    if not teachers:
        return None
    paths, digests = [short_path(other.path) for other in teachers], [other.sha256 for other in teachers]
    return WeightsFile(path=" + ".join(paths), sha256=" + ".join(digests))


def _teacher(others: Sequence[Other], subject: Subject) -> nn.Module | None:
    if len(others) < 2:
        return others[0].model if others else None
    members = [Frozen.of(other.model) for other in others]
    return Ensemble(members=members).load(num_classes=subject.data.num_classes, input_shape=subject.data.input_shape)


def _weight_decay(subject: Subject) -> float | None:
    decay = subject.card.training.block.get("weight_decay") if subject.card.training else None
    return float(decay) if isinstance(decay, int | float) else None


def _images_of(config: str, subject: Subject, limit: int) -> tuple[Tensor, Tensor | None]:
    data: DataModule = build(DataModule, read_data(config))
    if data.input_shape != subject.data.input_shape:
        raise UserError(f"--other {config}: images of shape {data.input_shape}; expected {subject.data.input_shape}")
    images = data.test_images()
    levels, y = balanced_images(images, limit)
    same = list(data.classes) == list(subject.data.classes)
    return to_pixels(levels).to(subject.x.device), y.to(subject.y.device) if same else None


@contextmanager
def _tracked() -> Iterator[Track[Any]]:
    """A bar with the time left for the steps of whatever is slow, where a person is watching."""
    screen = console(error=True)
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as progress:

        def track(steps: Iterable[T], what: str) -> Iterable[T]:
            return progress.track(list(steps), description=what)

        yield track
