#!/usr/bin/env python3
"""What one GPU shows in ten minutes, the most valuable first; scripts/gpu_ten_minutes.sh says how it is called."""

import argparse
import json
import math
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    BEGUN = time.monotonic()  # before a quarter of a minute of imports

import torch
from costs import TEACHER as TINY_TEACHER
from costs import teacher_options
from deadline import Deadline, Task

from ard.artifacts.card import Card
from ard.artifacts.metrics import read_metrics
from ard.artifacts.paths import RunFolder
from ard.artifacts.weights import save_weights
from ard.models import ResNet

METHODS = Path(__file__).resolve().parents[1] / "configs" / "methods"
SINGLE_STEP = ("nfgsm", "nfgsm_ard", "nfgsm_rslad")
STUDENTS = (*SINGLE_STEP, "pgd_at_ema", "rslad", "ard")
EXACT, EXACTLY = ("32-true", "16-mixed"), ("ard", "rslad", "adaad", "trades", "fast_ard", "pgd_at_awp")
SAVING = 20.0  # of the seconds, to write checkpoints, compare and pack
THREE_STEPS = ["--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--trainer.log_every_n_steps=1"]
NOT_CAPTURED = "the attack is not captured as a CUDA graph"
PARTS = ("steps", "bench", "claim")
QUIET = "--trainer.enable_progress_bar=false"


@dataclass(frozen=True, kw_only=True)
class Size:
    """What is tried: methods, words that every `ard fit` begins with, those of `ard bench`, suites and numbers of images."""

    teaches: str = "nfgsm"
    students: tuple[str, ...] = STUDENTS
    base: list[str]  # of the runs
    teacher: list[str]  # and of the teacher's
    several: list[str]  # and of those whose attack takes several steps
    step: list[str]  # of a single step of every recipe
    step_teacher: dict[str, Any]
    precisions: tuple[str, ...]
    groups: list[str]
    bench: list[list[str]]
    bench_places: int  # 1 where times are to be believed
    measures: list[tuple[str, int]]


def real(data: Path, epochs: int) -> Size:
    """CIFAR-10 with networks of full size, in the precision that the machine is fastest in."""
    named = ["image_folder", "--data.name=CIFAR-10 (JPEG)"] if (data / "train").is_dir() else ["cifar10"]
    common = ["--batch-size=512", "--lr=0.2", "--average=0.9995", "--model.training.schedule=one_cycle"]
    return Size(
        base=[*named, f"--data-dir={data}", f"--epochs={epochs}", *common],
        teacher=["--student=resnet"],
        several=["--model.attack.steps=5", "--model.attack.relative_step=0.5"],
        step=["cifar10", "--data=speeds.Noise", "--data.batch_size=128", "--data.batches=3", *THREE_STEPS],
        step_teacher={},
        precisions=EXACT,
        groups=["ARD, MobileNetV2", "ARD, ResNet-18", "RSLAD, MobileNetV2", "fewer passes, MobileNetV2"],
        bench=[["--batch-size=128", "--rounds=3"], ["--batch-size=512", "--rounds=3"]],
        bench_places=1,
        measures=[("quick", 1000), ("standard", 1000)],
    )


def toy(epochs: int) -> Size:
    """The same on digits with networks of next to nothing."""
    digits = ["digits", "--model.student.stages=[[1,16,1,1],[2,16,1,2]]", "--model.student.head=16", "--batch-size=128"]
    return Size(
        base=[*digits, f"--epochs={epochs}", "--average=0.9", "--trainer.limit_train_batches=4"],
        teacher=[],
        several=[],
        step=[*digits, *THREE_STEPS],
        step_teacher=TINY_TEACHER,
        precisions=(),
        groups=["RSLAD, MobileNetV2"],
        bench=[["--batch-size=2", "--steps=1", "--rounds=1"]],
        bench_places=2,
        measures=[("quick", 20), ("quick", 40)],
    )


def steps(size: Size, out: Path, rows: dict[str, Any]) -> Iterator[Task]:
    """One step of every recipe in the machine's own precision, and of some in the others; `rows` has those that are done."""
    recipes = sorted(METHODS.glob("*.yaml"))
    jobs = [(recipe, "auto") for recipe in recipes]
    jobs += [(recipe, precision) for precision in size.precisions for recipe in recipes if recipe.stem in EXACTLY]
    for recipe, precision in jobs:
        name = f"{recipe.stem} {precision}"
        place, epochs = out / "steps" / name.replace(" ", "-"), 8 if "FreeDistillation" in recipe.read_text() else 1
        words = ["fit", size.step[0], str(recipe), *size.step[1:], *teacher_options(recipe, out / "teacher.safetensors")]
        words += [f"--epochs={epochs}", f"--precision={precision}", f"--out={place}", QUIET]
        yield Task(name, "step", words, place / "log.txt", partial(rows.__contains__, name), resumable=False)


def benches(size: Size, out: Path) -> Iterator[Task]:
    """Each group of the bench is written onto the record of its batch size."""
    for options in size.bench:
        record = out / f"benchmark-{options[0].rpartition('=')[2]}.json"
        for group in size.groups:
            words = ["bench", f"--out={record}", f"--only={group}", *options]
            name, done = f"bench {group}, {options[0]}", partial(_has_group, record, group)
            yield Task(name, name, words, out / "bench.txt", done, resumable=False)


def _has_group(record: Path, group: str) -> bool:
    return record.is_file() and any(row["group"] == group for row in json.loads(record.read_text())["rows"])


def claim(size: Size, out: Path) -> Iterator[Task]:
    """A teacher and students of one step, measured as soon as they are there, then thoroughly; then students of several."""
    teacher = _fit(size, out / "teachers" / "resnet", size.teaches, size.teacher)
    students = {method: _fit(size, out / method, method, [], teacher) for method in size.students}
    single = [fit for method, fit in students.items() if method in SINGLE_STEP]
    several = [fit for method, fit in students.items() if method not in SINGLE_STEP]
    yield from (teacher, *single)
    yield from (_measure(size, fit, *measure) for measure in size.measures for fit in (*single, teacher))
    for fit in several:
        yield from (fit, *(_measure(size, fit, *measure) for measure in size.measures))


def _fit(size: Size, place: Path, method: str, more: list[str], teacher: Task | None = None) -> Task:
    recipe, weights, needs = METHODS / f"{method}.yaml", RunFolder(place).weights(), None
    several = [] if method in SINGLE_STEP else size.several
    words = ["fit", size.base[0], str(recipe), *size.base[1:], *several, *more]
    if teacher is not None and (options := teacher_options(recipe, weights_of(teacher))):
        words, needs = [*words, *options], weights_of(teacher)
    kind = "fit teacher" if teacher is None else "fit, one step" if method in SINGLE_STEP else "fit, several steps"
    words += [f"--out={place}", "--resume", QUIET]
    return Task(f"fit {place.name}", kind, words, place / "log.txt", weights.is_file, needs)


def weights_of(fit: Task) -> Path:
    """What a run leaves."""
    return RunFolder(fit.log.parent).weights()


def _measure(size: Size, fit: Task, suite: str, limit: int) -> Task:
    words = ["evaluate", str(weights_of(fit)), f"--suite={suite}", f"--limit={limit}", "--replace"]
    first = (suite, limit) == size.measures[0]
    done = partial(_is_measured, RunFolder(fit.log.parent).records[0], suite, limit)
    kind = f"evaluate {suite}, {limit}"
    needs = weights_of(fit) if first else RunFolder(fit.log.parent).records[0]  # one at a time writes it
    return Task(f"{kind}: {fit.log.parent.name}", kind, words, fit.log, done, needs)


def _is_measured(record: Path, suite: str, limit: int) -> bool:
    """At least so thoroughly."""
    found = json.loads(record.read_text()) if record.is_file() else {"suite": "", "limit": 0}
    return (found["suite"] == "standard" and suite == "quick") or (found["suite"] == suite and found["limit"] >= limit)


def stepped(out: Path, rows: dict[str, Any], task: Task, seconds: float) -> None:
    """A line of recipes.json; of a step that went well nothing else is kept."""
    metrics = read_metrics(RunFolder(task.log.parent).metrics)
    losses = [float(row["train/loss"]) for row in metrics if "train/loss" in row]
    recipe, precision = task.name.split()
    ok = task.process.exitcode == 0 and bool(losses) and all(map(math.isfinite, losses))
    lines = task.log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
    reasons = [line.partition(": ")[2] for line in lines if NOT_CAPTURED in line]
    row = {
        "recipe": recipe,
        "precision": precision,
        "ok": ok,
        "seconds": round(seconds, 1),
        "loss": losses[-1:],
        "not_captured": reasons[:1],
        "error": "" if ok else lines[-1],
    }
    rows[task.name] = row
    (out / "recipes.json").write_text("[\n" + ",\n".join(json.dumps(rows[name]) for name in sorted(rows)) + "\n]\n")
    if ok:
        shutil.rmtree(task.log.parent)


def pack(out: Path) -> Path:
    """A folder of what is worth keeping, without weights: records, configs and losses."""
    records = out / "records"
    for pattern in ("*.json", "claim/**/*.json", "claim/**/config.yaml", "claim/**/metrics.csv"):
        for file in out.glob(pattern):
            copied = records / file.relative_to(out)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copied)
    return records


def compare(size: Size, out: Path, deadline: Deadline) -> None:
    """The table of what was measured, beside the records."""
    records = pack(out) / "claim"
    if any(records.rglob("evaluation.json")):
        baseline = next((name for name in size.students if (records / name).is_dir()), None)
        words = ["compare", str(records), "--mixed", *([f"--baseline={baseline}"] if baseline else [])]
        task = Task("table", "table", words, out / "table.txt", lambda: False)
        deadline.until += SAVING
        deadline.run([task], 1)


def main(size: Size, out: Path, until: float, parts: Sequence[str] = PARTS) -> int:
    """All of these parts that is not done yet and can be until then; each part has the machine to itself."""
    deadline = Deadline(out / "durations.json", until - SAVING)
    recipes, claimed = out / "recipes.json", [*claim(size, out / "claim")]
    lines = json.loads(recipes.read_text()) if recipes.is_file() else []
    rows = {f"{line['recipe']} {line['precision']}": line for line in lines}
    card = Card(class_path="ard.models.ResNet", init_args=size.step_teacher, num_classes=10)
    save_weights(out / "teacher.safetensors", ResNet(num_classes=10, **size.step_teacher), card)
    cores = len(os.sched_getaffinity(0))
    try:
        if "steps" in parts:
            deadline.run([*steps(size, out, rows)], max(2, min(12, cores - 2)), partial(stepped, out, rows))
        if "bench" in parts:
            deadline.run([*benches(size, out)], size.bench_places)
        if "claim" in parts:
            deadline.run(claimed, min(3, cores))
    finally:
        compare(size, out, deadline)
    failed = [name for name, row in rows.items() if not row["ok"]]
    left = [task.name for task in claimed if not task.done()]
    deadline.say(f"{len(rows)} recipe steps, {len(failed)} failed: {', '.join(failed) or 'none'}")
    deadline.say(f"left for the next call: {', '.join(left) or 'nothing'}; what to keep is in {out / 'records'}")
    return int(bool(failed))


def arguments(words: list[str]) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(prog="scripts/gpu_ten_minutes.sh", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of CIFAR-10: train/ and test/ of images, or torchvision's")
    parser.add_argument("out", type=Path, help="folder for everything; called again with it, the script goes on")
    parser.add_argument("seconds", type=float, nargs="?", default=600.0, help="after which it ends (600)")
    parser.add_argument("--epochs", type=int, help="of every run (10)")
    parser.add_argument("--part", choices=PARTS, action="append", help="this one alone; may be said again (all)")
    parser.add_argument("--teacher", metavar="METHOD", default="nfgsm", help="that trains the teacher (nfgsm)")
    parser.add_argument(
        "--students",
        metavar="METHODS",
        type=lambda text: tuple(text.split(",")),
        default=STUDENTS,
        help=f"the first is what the others are compared with ({','.join(STUDENTS)})",
    )
    parser.add_argument("--toy", action="store_true", help="rehearse on a CPU, with digits")
    return parser.parse_args(words)


if __name__ == "__main__":
    given = arguments(sys.argv[1:])
    if not given.toy and not torch.cuda.is_available():
        print("gpu_ten_minutes: torch sees no CUDA GPU here; expected one, or --toy", file=sys.stderr)
        sys.exit(2)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    given.out.mkdir(parents=True, exist_ok=True)
    chosen = toy(given.epochs or 2) if given.toy else real(given.data.resolve(), given.epochs or 10)
    chosen = replace(chosen, teaches=given.teacher, students=given.students)
    sys.exit(main(chosen, given.out.resolve(), BEGUN + given.seconds, given.part or PARTS))
