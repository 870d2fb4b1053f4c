"""What `ard prune` does with a file of weights: prune, write the result with its card, say what it is good for."""

import shlex
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from ard.artifacts.card import Card, check_images_of, check_unseen
from ard.artifacts.facts import Pruned
from ard.artifacts.paths import STUDENT, RunFolder, run_home, weights_file
from ard.artifacts.run_name import run_of
from ard.artifacts.weights import StoredWeights, read_stored, save_weights
from ard.cli.network_option import named_network
from ard.commands.prune import PruneRequest
from ard.commands.subject import data_sections
from ard.configs.building import build
from ard.core.errors import UserError
from ard.core.files import or_user_error
from ard.core.terminal import say
from ard.data import DataModule, to_pixels
from ard.data.cifar import nothing_fetched
from ard.data.loading import balanced_images
from ard.evaluation.request import Request
from ard.models.building import check_answers
from ard.models.loading import network_with
from ard.pruning.cutting import cut_out
from ard.pruning.prunable import Left, Prunable, prunable_weights
from ard.pruning.pruning import nonzero, prune_network

LOOKED_AT = 1000  # images, where nobody says how many


def prune_file(file: str, request: PruneRequest) -> None:
    """Prune the network of one file of weights, and write it to another."""
    target = target_of(Path(file), request)
    if target.exists() and not request.replace:
        raise UserError(f"{target} is there already: add --replace, or --out DIR")
    stored = read_stored(file)
    model = network_with(stored, file, named_network(request.network))
    sight = _Sight(stored, Path(file), model, request)
    left, card = _pruned(stored, model, sight, request) if request.keep < 1 else ({}, stored.card)
    lines = _summary(model, left)
    state = model.state_dict()
    if request.smaller:
        smaller = cut_out(model, card, sight.images)
        state, card, sizes = smaller.state, smaller.card, f"{smaller.parameters:,} parameters, {smaller.nonzero:,} not zero"
        lines.append(f"without the channels that are zero: {sizes}, the same answers")
    unused = next((name for name in ("data", "limit") if getattr(request, name) is not None), None)
    if unused and not sight.looked_at:
        raise UserError(f"--{unused} has no effect with --how {request.how}: add --smaller or --how fanout, or leave it out")
    with or_user_error(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    save_weights(target, state, card)
    say("\n".join([str(target), *lines, *_next(target, request)]))


def _pruned(stored: StoredWeights, model: nn.Module, sight: "_Sight", request: PruneRequest) -> tuple[Left, Card]:
    """Prune in place; what is left by layer, and the card that says so."""
    teacher = read_stored(request.teacher) if request.teacher else None
    of = Prunable(
        network=model,
        keep=request.keep,
        images=lambda: sight.images,
        teacher=sight.teacher(teacher) if teacher else None,
        seed=request.seed,
    )
    left, run = prune_network(of, request.how), run_of(sight.weights, stored.card)
    pruned = Pruned(
        how=request.how,
        keep=request.keep,
        of=stored.sha256,
        nonzero=nonzero(model),
        seed=request.seed,
        method=run.method if run else None,
        teacher=teacher.sha256 if teacher else None,
    )
    return left, replace(stored.card, pruned=pruned)


class _Sight:
    """The images that a network was trained on, read when they are first asked for: two of the ways look at none."""

    def __init__(self, stored: StoredWeights, weights: Path, model: nn.Module, request: PruneRequest) -> None:
        self.stored, self.weights, self.model, self.request = stored, weights, model, request

    @property
    def looked_at(self) -> bool:
        """Whether anything asked for the data."""
        return "data" in vars(self)

    @cached_property
    def data(self) -> DataModule:
        """Raises UserError for other classes or sizes than the weights name."""
        asked = Request(data=self.request.data, data_dir=self.request.data_dir)
        _, here = data_sections(self.stored.card, asked, self.weights)
        with nullcontext() if self.request.data else nothing_fetched():
            data: DataModule = build(DataModule, here)
            _ = data.splits
        check_images_of(self.stored.card, self.weights, data, allow_mismatch=self.request.allow_mismatch)
        return data

    @cached_property
    def images(self) -> Tensor:
        """Pixels (n, C, H, W) of the training split, equally many a class."""
        check_answers(self.model, self.data.input_shape, None, str(self.weights), batch=2)
        levels, _ = balanced_images(self.data.splits[0], self.request.limit or LOOKED_AT)
        return to_pixels(levels).contiguous()

    def teacher(self, stored: StoredWeights) -> nn.Module:
        """A teacher for the same images; raises UserError for one of other classes."""
        path = weights_file(str(self.request.teacher))
        check_images_of(stored.card, path, self.data, allow_mismatch=self.request.allow_mismatch)
        check_unseen(stored.card, path, self.data, allow_mismatch=self.request.allow_mismatch)
        model = network_with(stored, path, None)
        check_answers(model, self.data.input_shape, self.data.num_classes, path, batch=2)
        return model


def target_of(weights: Path, request: PruneRequest) -> Path:
    """The file to write: `out`, or in it where it is a folder; else in a folder beside the run's.

    checkpoints/digits/ard/seed0 -> checkpoints/digits/ard-magnitude-0.5/seed0/student.safetensors: there a table shows both.
    """
    if request.out is not None:
        named = RunFolder.of(request.out)
        return named.root if named.root.suffix == ".safetensors" else named.weights()
    way = [request.how, *(["teacher"] if request.teacher else []), f"{request.keep:g}"] if request.keep < 1 else []
    ending = "-".join([*way, *(["smaller"] if request.smaller else [])])
    run, words = weights.resolve().parent, [] if weights.stem == STUDENT else [weights.stem]
    home = run_home(run)
    if home != run:
        folder = home.with_name("-".join([home.name, *words, ending])) / run.relative_to(home)
    else:
        folder = run / f"{weights.stem}-{ending}" if words else run.parent / f"{run.name}-{ending}"
    here = Path.cwd()
    return RunFolder(folder.relative_to(here) if folder.is_relative_to(here) else folder).weights()


def _summary(model: nn.Module, left: Left) -> list[str]:
    weights, everything = list(prunable_weights(model).values()), list(model.parameters())
    stay, all_stay = (sum(int(part.count_nonzero()) for part in parts) for parts in (weights, everything))
    count, all_count = (sum(part.numel() for part in parts) for parts in (weights, everything))
    channels = ", ".join(f"{layer} {some} of {of_all}" for layer, (some, of_all) in left.items())
    return [
        f"not zero: {stay:,} of {count:,} weights; {all_stay:,} of {all_count:,} parameters with biases and BatchNorm",
        *([f"channels left, by the layer that reads them: {channels}"] if channels else []),
    ]


def _next(target: Path, request: PruneRequest) -> list[str]:
    run = str(target.parent if target.stem == STUDENT else target)
    network = ["--network", request.network] if request.network else []
    evaluate = f"next: ard {shlex.join(['evaluate', run, *network])}"
    if request.smaller:
        return [evaluate]
    zeros = "the shapes are as before: zeros are stored and computed like any number"
    return [zeros, evaluate, f"      ard fit BASE METHOD --init {shlex.quote(run)}    (trains on; zeros stay zero)"]
