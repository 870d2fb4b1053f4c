"""Checks of the images as training will see them: number, range, labels, and whether validation images stay the same."""

import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ard.attacks import Ball
from ard.core.pixels import check_batch, levels_of
from ard.core.text import first_few, radius
from ard.data import to_pixels
from ard.data.loading import Images, Loader, Subset
from ard.diagnostics.opposite_class import balls_meet, nearest_of_another_class
from ard.doctor.advice import Advice
from ard.doctor.duplicates import shared
from ard.doctor.planned_run import PlannedRun

READING_SECONDS = 6.0  # for reading each of the splits: what is on disk may be large
COMPARED, PIXEL_PAIRS = 2000, 3e9  # training images at most, and differences between their pixels: two seconds of a core
DARK = 2 / 255  # images none of whose pixels are brighter were divided by 255 twice


def sizes(run: PlannedRun) -> Iterator[Advice]:
    """How many images each split has."""
    splits = run.splits
    if "test" not in splits:
        yield Advice("test split", "cannot be opened: training needs none, evaluation does", "warning")
    message = ", ".join(f"{len(images):,} {name}" for name, images in splits.items())
    classes = f"{run.data.num_classes} classes ({first_few(run.data.classes)})"
    yield Advice("splits", f"{run.data.title}: {message}; {classes}")


def twice(run: PlannedRun) -> Iterator[Advice]:
    """Images that are in two splits."""
    levels = {name: read_levels(images) for name, images in run.splits.items()}
    yield shared(levels, {name: len(images) for name, images in run.splits.items()}, _names(run))


def _names(run: PlannedRun) -> dict[str, list[str]]:
    """The files of each split of a folder of images, in the order of the images."""
    files = run.data.image_files
    if files is None:
        return {}
    train, val = ([files.training[place] for place in part.indices.tolist()] for part in run.data.splits)
    splits: dict[str, Sequence[str]] = {"train": train, "val": val, "test": files.test}
    return {name: [files.below_root(path) for path in paths] for name, paths in splits.items()}


def labels(run: PlannedRun) -> Iterator[Advice]:
    """Every class is in every split, and no label is beyond them; in training images the data module itself refuses that."""
    classes = run.data.num_classes
    for name, images in run.splits.items():
        low, high = int(images.labels.min()), int(images.labels.max())
        if not -1 <= low <= high < classes:
            yield Advice("labels", f"in [{low}, {high}] of {name}; expected 0 to {classes - 1}", "error")
            return
        counts = torch.bincount(images.labels.clamp_min(0), minlength=classes)
        if missing := (counts == 0).nonzero().flatten().tolist():
            names = ", ".join(run.data.classes[index] for index in missing[:3])
            yield Advice("labels", f"{name} has no image of {names}", "warning")
            return
    counts = torch.tensor(run.data.class_counts)
    yield Advice("labels", f"0 to {classes - 1}; {int(counts.min()):,} to {int(counts.max()):,} training images a class")


def pixels(run: PlannedRun) -> Iterator[Advice]:
    """The range of pixels in the batches that the network gets."""
    low, high, seen = 1.0, 0.0, 0
    for loader in (run.data.val_dataloader(), run.data.train_dataloader()):
        for x, y in batches(run, loader):
            check_batch(x, y, num_classes=run.data.num_classes, labels=run.engine.objective.labels)
            low, high, seen = min(low, float(x.min())), max(high, float(x.max())), seen + len(y)
    dark = high <= DARK
    message = f"[{low:.3g}, {high:.3g}] in {seen:,} images" + (
        ": almost black; were they divided by 255 twice?" if dark else ""
    )
    yield Advice("pixels", message, "error" if dark else "ok")


def steady(run: PlannedRun) -> Iterator[Advice]:
    """Nothing augments or shuffles the validation images."""
    first, second = (list(batches(run, run.data.val_dataloader())) for _ in range(2))
    same = all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, second, strict=False))
    message = "the same at every reading" if same else "differ between two readings: they must not be augmented or shuffled"
    yield Advice("validation images", message, "ok" if same else "error")


def other_classes(run: PlannedRun) -> Iterator[Advice]:
    """Training images of different classes whose balls of radius eps meet; of many images, as many as take two seconds."""
    train, ball = run.splits["train"], run.engine.threat
    known = (train.labels >= 0).nonzero().flatten()
    if not len(known):
        yield Advice("other classes", "no training image has a label")
        return
    most = min(COMPARED, math.isqrt(int(PIXEL_PAIRS / math.prod(run.data.input_shape))))
    places = known[torch.linspace(0, len(known) - 1, min(most, len(known))).long()]
    x = to_pixels(read_levels(Subset(train, places, run.data.input_shape)))
    distances = nearest_of_another_class(x, train.labels[places[: len(x)]], ball)
    yield _apart(distances, ball)


def _apart(distances: Tensor, ball: Ball) -> Advice:
    twice = f"2 eps = {radius(2 * ball.eps)} of {ball.norm}"
    near, same = int(balls_meet(distances, ball).sum()), int((distances == 0).sum())
    looked = f"{len(distances):,} training images"
    if not near:
        return Advice(
            "other classes", f"the nearest image of another class is {distances.min():.3g} away, {twice}; {looked}"
        )
    also = f", {same} of them the same pixels with another label" if same else ""
    told = f"{near:,} of {looked} have one of another class within {twice}{also}: no network is robust on both"
    return Advice("other classes", told, "warning")


def batches(run: PlannedRun, loader: Loader) -> Iterator[tuple[Tensor, Tensor]]:
    """As many batches as can be read in READING_SECONDS."""
    end = time.monotonic() + READING_SECONDS
    for batch in loader:
        yield run.data.on_after_batch_transfer(batch, 0)
        if time.monotonic() > end:
            return


def read_levels(images: Images, block: int = 1000) -> Tensor:
    """The first images as uint8 (n, C, H, W): as many as can be read in READING_SECONDS."""
    end, parts, start = time.monotonic() + READING_SECONDS, [], 0
    while start < len(images) and time.monotonic() < end:
        block_of = images.__getitems__(list(range(start, min(start + block, len(images)))))[0]
        parts.append(levels_of(to_pixels(block_of)))
        start += block
    return torch.cat(parts)
