"""`ard.evaluate`: of a file of weights, as `ard evaluate` does it, or of a network and images that are there already."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ard.artifacts.paths import record_of
from ard.artifacts.record import Record
from ard.attacks import Ball
from ard.calls.arguments import known_arguments
from ard.calls.fitting import FitResult, weights_of, written_radius
from ard.commands.display import summary
from ard.commands.evaluate_file import recorded
from ard.configs.building import build
from ard.configs.catalogue import find
from ard.configs.files import read_data
from ard.core.errors import UserError
from ard.core.radius import RadiusLike
from ard.core.terminal import say
from ard.data import DataModule, to_pixels
from ard.data.foreign import ForeignData
from ard.data.loading import balanced
from ard.evaluation.evaluation import evaluate_images
from ard.evaluation.request import Request, split_commas
from ard.evaluation.suites import Given
from ard.training.method import threat_of

Pairs = tuple[Tensor, Tensor]
BATCH = 256  # images of a Dataset that are read at once


@known_arguments
def evaluate(
    network: nn.Module | str | Path | FitResult,
    data: str | Path | pl.LightningDataModule | Dataset[Any] | Iterable[Any] | None = None,
    *,
    threat: Ball | None = None,
    eps: RadiusLike | None = None,
    suite: Literal["quick", "standard", "full"] = "quick",
    limit: int | None = None,
    split: Literal["test", "val"] = "test",
    seed: int = 0,
    attacks: Sequence[str] = (),
    teacher: nn.Module | str | Path | FitResult | None = None,
    replace: bool = False,
    allow_mismatch: bool = False,
) -> Record:
    """Clean and robust accuracy, with the evidence for it: a few lines are printed, and every number is an attribute.

    A file of weights is evaluated as by `ard evaluate`: the record and its pages are written beside it. A network is
    evaluated in memory, in eval mode, on the GPU where there is one, and comes back to its device.

    Args:
        network: An nn.Module from pixels in [0, 1] to logits; or weights: a file, a run's folder, or what `fit` returned.
        data: Of a network: a loader or a torch Dataset of (images, labels), a data module (its test images), a pair of
            tensors, a name of `ard list bases` or the path of a config. Weights know theirs; another config may be named.
        threat: Which images an attack may choose from, such as ard.Linf(8/255). Weights know theirs.
        eps: A radius, short for threat=ard.Linf(eps).
        suite: "quick" (five short attacks), "standard" (and AutoAttack) or "full" (and every check).
        limit: On this many images, as equally many a class as there are; of a loader or Dataset on its first ones.
        split: Images of our own data: test or validation.
        seed: Of the attacks' random starts.
        attacks: More attacks, names of torchattacks such as "MIFGSM".
        teacher: A network for a network, weights for weights: should not be surpassed, and "full" attacks through it.
        replace: Write over a record of these weights that says more, or something else.
        allow_mismatch: Allow other classes or sizes than the weights name.

    Raises:
        UserError: For whatever `ard evaluate` refuses, and a network without images or threat.
    """
    if isinstance(network, nn.Module) != isinstance(teacher, nn.Module) and teacher is not None:
        raise UserError("network and teacher: expected two networks (ard.load reads files), or two files of weights")
    ball = None if threat is None and eps is None else threat_of(threat, eps)
    request = Request(
        suite=suite,
        limit=limit,
        split=split,
        seed=seed,
        attacks=",".join(attacks),
        replace=replace,
        allow_mismatch=allow_mismatch,
        eps=None if ball is None else written_radius(ball.eps),
        norm=None if ball is None else ball.norm,  # type: ignore[arg-type]
        data=str(find(data, "bases")) if isinstance(data, str | Path) else None,
        teacher=None if teacher is None else "in memory" if isinstance(teacher, nn.Module) else str(weights_of(teacher)),
    )
    request.check()
    if isinstance(network, nn.Module):
        measured = _in_memory(network, data, ball, request, teacher)
        say(str(measured))
        return measured
    if not isinstance(data, str | Path | None):
        raise UserError("weights in a file and images in memory: expected a network, such as ard.load(file)")
    return _stored(weights_of(network), request)


def _stored(weights: Path, request: Request) -> Record:
    record = recorded(weights, request)
    assert record is not None  # there are no shards
    say(summary(record, weights, record_of(weights)))
    return record


def _in_memory(network: nn.Module, data: Any, ball: Ball | None, request: Request, teacher: Any) -> Record:
    if ball is None:
        raise UserError("a network in memory does not say what it withstands: expected threat=, such as ard.Linf(8/255)")
    module = data if request.data is None else build(DataModule, read_data(request.data))
    x, y = images_of(module, request.limit, request.split)
    networks = [part for part in (network, teacher) if part is not None]
    homes = [next((weight.device for weight in part.parameters()), torch.device("cpu")) for part in networks]
    device = torch.device("cuda") if torch.cuda.is_available() else homes[0]
    given = Given(attacks=split_commas(request.attacks), teacher=teacher)
    options: dict[str, Any] = {"suite": request.suite, "seed": request.seed, "given": given}
    try:
        for part in networks:
            part.to(device)
        x = x.to(device).contiguous()  # a network that came as it is may call `view`
        record = evaluate_images(network, x, y.to(device), ball, **options)
    finally:
        for part, home in zip(networks, homes, strict=True):
            part.to(home)
    record = dataclasses.replace(record, limit=request.limit)
    if not isinstance(module, DataModule):
        return record
    return dataclasses.replace(record, split=request.split, dataset=dataclasses.replace(record.dataset, name=module.title))


def images_of(data: Any, limit: int | None, split: Literal["test", "val"]) -> Pairs:
    """Images x (n, C, H, W) in [0, 1] and labels y (n,) of whatever holds them."""
    if data is None:
        raise UserError(
            "a network in memory does not know its images: expected a Dataset, a loader, a data module or a pair of tensors"
        )
    if isinstance(data, DataModule):
        images = data.test_images() if split == "test" else data.splits[1]
        levels, y = images.__getitems__(_chosen(images.labels, limit))
        return to_pixels(levels), y
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        x, y = ForeignData().received(data, 0)
        chosen = _chosen(y, limit)
        return x[chosen], y[chosen]
    if isinstance(data, pl.LightningDataModule):
        data.prepare_data()
        data.setup("test" if split == "test" else "validate")
        data = data.test_dataloader() if split == "test" else data.val_dataloader()
    if isinstance(data, Dataset):
        data = DataLoader(data, batch_size=BATCH)
    return _first(data, limit)


def _chosen(labels: Tensor, limit: int | None) -> list[int]:
    if limit is not None and not 0 < limit <= len(labels):
        raise UserError(f"limit = {limit}: expected 1 to {len(labels)}, as many images as there are")
    return list(range(len(labels))) if limit is None else balanced(labels, limit).tolist()


def _first(loader: Iterable[Any], limit: int | None) -> Pairs:
    """Of a loader, as many as are asked for; every batch is checked."""
    if limit is not None and limit < 1:
        raise UserError(f"limit = {limit}: expected 1 or more images")
    parts: list[Pairs] = []
    count = 0
    for batch in loader:
        parts.append(ForeignData().received(batch, 0))
        count += len(parts[-1][1])
        if limit is not None and count >= limit:
            break
    if limit is not None and limit > count:
        raise UserError(f"limit = {limit}: expected 1 to {count}, as many images as there are")
    if not parts:
        raise UserError("the loader is empty: expected batches of images and labels")
    x, y = (torch.cat(part)[:limit] for part in zip(*parts, strict=True))
    return x, y
