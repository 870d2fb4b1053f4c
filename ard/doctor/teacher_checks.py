"""Checks of the teacher: its clean and robust accuracy, the order of its classes, and the data it was trained on."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ard.artifacts.card import difference, own_section
from ard.artifacts.paths import RECORD, record_of
from ard.artifacts.record_file import readable_record
from ard.attacks import PGD, frozen_mode
from ard.core.logits import accuracy_of
from ard.core.randomness import keyed_generator
from ard.core.text import percent, radius
from ard.doctor.advice import Advice
from ard.doctor.normalisation import better_ways
from ard.doctor.planned_run import PlannedRun
from ard.losses import attack_labels
from ard.models.frozen import Frozen
from ard.training.callbacks.teacher_accuracy import Accuracy, teacher_card, untaught, validation_images

CLEAN, ATTACKED = 1000, 500  # images at most
TEACHER_SECONDS = 12.0  # for each of the two
AT_A_TIME = 50
# below, or below that share of the clean accuracy, a teacher is too weak to be worth distilling from
ROBUST, SHARE = 0.2, 0.4
POINTS = 0.03  # between what was declared and what is measured, beside the error of the measurement


def check_teacher(run: PlannedRun) -> Iterator[Advice]:
    """Check every teacher of the run; each is called by its key in the config."""
    for place, teacher in run.engine.teachers().items():
        option = f"--model.{place}.weights".replace(".init_args", "")
        teacher.load(num_classes=run.data.num_classes, input_shape=run.data.input_shape, option=option).to(run.device)
        name = place.rpartition(".")[2]
        x, y = (part.to(run.device) for part in validation_images(run.data, CLEAN))
        accuracy, advice = clean(run, name, teacher, x, y)
        yield advice
        if name == "teacher":
            yield robust(run, teacher, x, y, accuracy)
        yield from origin(run, name, teacher)


def clean(run: PlannedRun, name: str, teacher: Frozen, x: Tensor, y: Tensor) -> tuple[Accuracy, Advice]:
    """Clean accuracy: above chance, near the declared one, and not better with another normalisation or order of classes."""
    logits = in_time(lambda x, _: teacher(x), x, y)
    x, y = x[: len(logits)], y[: len(logits)]
    accuracy = Accuracy(accuracy_of(logits, y), len(y))
    (low, high), declared = accuracy.bounds, clean_accuracy_of(teacher, run)
    message = f"{percent(accuracy.share)} of {accuracy.n:,} validation images"
    message += "" if declared is None else f" (declared: {percent(declared)})"
    about = f"{name}: clean"
    if cause := untaught(teacher):
        is_known = accuracy.beats_chance(run.data.num_classes)
        return accuracy, Advice(about, f"{message}; {cause}", "warning" if is_known else "error")
    if better := better_ways(teacher, x, logits, y):
        return accuracy, Advice(about, f"{message}; {better}", "error")
    if not accuracy.beats_chance(run.data.num_classes):
        why = "not above chance: another normalisation, another order of classes, or no training?"
        return accuracy, Advice(about, f"{message}, {why}", "error")
    if declared is not None and high + POINTS < declared:
        return accuracy, Advice(about, f"{message}: another normalisation, or another order of classes?", "error")
    if declared is not None and low - POINTS > declared:
        return accuracy, Advice(about, f"{message}: more than on images it never saw, so it was trained on these", "warning")
    return accuracy, Advice(about, message)


def robust(run: PlannedRun, teacher: Frozen, x: Tensor, y: Tensor, clean: Accuracy) -> Advice:
    """Robust accuracy under PGD-10 with the run's threat model."""
    pgd = PGD(run.engine.threat, steps=10, relative_step=0.25)
    generator = keyed_generator(run.device, "doctor", 0)

    def attacked(x: Tensor, y: Tensor) -> Tensor:
        x_adv = pgd(attack_labels(teacher, y), x, generator)
        return teacher(x_adv).argmax(dim=1) == y

    with frozen_mode(teacher):
        right = in_time(attacked, x[:ATTACKED], y[:ATTACKED])
    accuracy = float(right.double().mean())
    threat = f"{run.engine.threat.norm} {radius(run.engine.threat.eps)}"
    message = f"robust accuracy {percent(accuracy)}, {len(right):,} validation images, {threat}"
    if run.engine.training_block.monitor == "val/clean_acc":
        return Advice("teacher: PGD-10", f"{message}; this run is selected by clean accuracy")
    weak = accuracy < ROBUST or accuracy < SHARE * clean.share
    return Advice("teacher: PGD-10", message + (": low for a teacher" if weak else ""), "warning" if weak else "ok")


def origin(run: PlannedRun, name: str, teacher: Frozen) -> Iterator[Advice]:
    """Whether the teacher has the same classes as the data, and whether it was trained on our validation images."""
    card = teacher_card(teacher)
    if differs := difference(card, run.data.classes, run.data.input_shape):
        yield Advice(f"{name}: classes", f"{differs}; a run is refused without --allow-mismatch", "error")
    else:
        unnamed = f"{run.data.num_classes}, as in the data; the teacher does not name them"
        yield Advice(f"{name}: classes", "the same names in the same order" if card.classes else unnamed)
    if same_split(card.data, run.section):
        yield Advice(f"{name}: data", "trained with the same validation split: it has not seen these images")
    else:
        why = "trained with another split or other data" if card.data else "the file does not say what it was trained on"
        message = f"{why}: it may have seen our validation images, so val/robust_acc is good for ranking only"
        yield Advice(f"{name}: data", message, "warning")


def same_split(theirs: dict[str, Any] | None, section: dict[str, Any]) -> bool:
    """Whether a teacher's `data:` section, as its card has it, splits off the same validation images as another."""
    theirs, ours = own_section(theirs), own_section(section)
    one, other = (_mapping(part.get("init_args")) for part in (theirs, ours))
    names = (Path(str(part.get("root") or "")).name for part in (one, other))
    kept = all(one.get(key) == other.get(key) for key in ("size", "grey", "val_size", "test_size", "split_seed", "fold"))
    return bool(theirs) and theirs.get("class_path") == ours.get("class_path") and len(set(names)) == 1 and kept


def _mapping(value: Any) -> dict[str, Any]:
    """A part of a card, which may hold anything."""
    return value if isinstance(value, dict) else {}


def clean_accuracy_of(teacher: Frozen, run: PlannedRun) -> float | None:
    """The clean accuracy on this data set in the record beside the weights, or in their card; None if in neither."""
    for path in (Path(teacher.weights).with_name(RECORD), record_of(teacher.weights)):
        record = readable_record(path)
        if record and record.weights.sha256 == teacher.sha256 and record.dataset.name == run.data.title:
            return record.clean_acc
    return teacher_card(teacher).clean_acc


def in_time(call: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """call(x, y) for the first images, as many as there is time for."""
    end, outputs = time.monotonic() + TEACHER_SECONDS, []
    for block in zip(x.split(AT_A_TIME), y.split(AT_A_TIME), strict=True):
        with torch.no_grad():
            outputs.append(call(*block))
        if time.monotonic() > end:
            break
    return torch.cat(outputs)
