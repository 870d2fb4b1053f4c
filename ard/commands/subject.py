"""What is evaluated: a file of weights and a request, as a model, images and a ball."""

import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ard.data
from ard.artifacts.card import Card, check_images_of, check_unseen, check_validation
from ard.artifacts.class_paths import check_classes, exported_classes
from ard.artifacts.facts import NetworkSpec
from ard.artifacts.record_parts import DatasetSpec, WeightsFile
from ard.artifacts.weights import StoredWeights, read_stored
from ard.attacks import Ball
from ard.cli.network_option import named_network
from ard.commands.card_data import card_section, with_folder
from ard.configs.building import build
from ard.configs.files import read_data
from ard.core.devices import gpu_or_cpu
from ard.core.errors import UserError
from ard.core.pixels import check_labels, check_pixels, digest_of_images
from ard.data import DataModule, to_pixels
from ard.data.cifar import nothing_fetched
from ard.data.loading import balanced
from ard.evaluation.request import Request, ball_of
from ard.models.building import check_answers, choose_memory_format
from ard.models.loading import network_with
from ard.models.wrappers import Network


@dataclass(frozen=True)
class Other:
    """Another network, and the SHA-256 of the bytes that it was read from."""

    path: str
    model: nn.Module
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model on its device, images x (n, C, H, W) in [0, 1], labels y (n,), and where all of them come from."""

    weights: Path
    sha256: str  # of the bytes that the model was read from
    card: Card
    section: dict[str, Any]  # the `data:` section, with the data's own name
    data: DataModule
    digest: str  # of images and labels
    model: nn.Module
    x: Tensor
    y: Tensor
    ball: Ball
    request: Request

    @classmethod
    def of(cls, weights: Path, request: Request, *, at_most: int | None = None) -> "Subject":
        """All images of the split, `request.limit` of them, or `at_most` so many, equally many a class.

        Raises UserError for whatever does not fit: weights, data, classes, shapes, radius.
        """
        request.check()
        request.check_ball()
        stored = read_stored(weights)
        card = stored.card
        _check_all_known(weights, stored.card, request)
        network = named_network(request.network)
        ball = _ball(card, request)
        section, here = data_sections(card, request, weights)
        with nullcontext() if request.data else nothing_fetched():
            data: DataModule = build(DataModule, here)
            levels, y = _images(data, request, at_most)
        model = _network_for(data, stored, weights, network, request)
        if request.split == "val" and not request.allow_mismatch:
            check_validation(card, weights, data)
        device = gpu_or_cpu()
        return cls(
            weights=weights,
            sha256=stored.sha256,
            card=card,
            section={"name": data.title, **section},
            data=data,
            digest=digest_of_images(levels, y),
            model=model.to(device),
            x=to_pixels(levels).to(device),
            y=y.to(device),
            ball=ball,
            request=request,
        )

    def other(self, path: str) -> "Other":
        """Another network for the same images: a teacher, a control, a source of transfer."""
        stored = read_stored(path)
        if stored.card.network is None:
            raise UserError(f"{path} does not say which network it is for: expected weights of ours (.safetensors)")
        model = _network_for(self.data, stored, path, None, self.request)
        return Other(path, model.to(self.x.device), stored.sha256)

    @property
    def weights_file(self) -> WeightsFile:
        """The weights as a record names them: no path that means nothing elsewhere."""
        return WeightsFile(path=short_path(self.weights), sha256=self.sha256)

    @property
    def network_spec(self) -> NetworkSpec:
        """The network as a record names it."""
        return NetworkSpec(class_path=self.card.class_path or type(self.model).__name__, init_args=self.card.init_args or {})

    @property
    def dataset(self) -> DatasetSpec:
        """The data as a record names them."""
        return DatasetSpec(
            name=self.section["name"],
            class_path=self.section["class_path"],
            init_args=self.section.get("init_args"),
            digest=self.digest,
        )


def short_path(path: str | Path) -> str:
    """A path below the current folder as it is, any other by its last part."""
    resolved = Path(path).resolve()
    return resolved.relative_to(Path.cwd()).as_posix() if resolved.is_relative_to(Path.cwd()) else resolved.name


def _network_for(
    data: DataModule, stored: StoredWeights, path: str | Path, network: Network | None, request: Request
) -> nn.Module:
    """The network of weights that were read; raises UserError where it does not answer these images, or others than them,
    or has learned them."""
    model = network_with(stored, str(path), network, num_classes=data.num_classes)
    choose_memory_format(model, data.input_shape)
    check_answers(model, data.input_shape, data.num_classes, str(path), batch=2)
    check_images_of(stored.card, path, data, allow_mismatch=request.allow_mismatch)
    if request.split == "test":
        check_unseen(stored.card, path, data, allow_mismatch=request.allow_mismatch)
    return model


def _check_all_known(weights: Path, card: Card, request: Request) -> None:
    """Raises UserError that asks for all that these weights do not say, where that is more than one thing."""
    missing = {
        "which network (--network CLASS.PATH or FILE.yaml)": card.network or request.network,
        "which data, and so which classes (--data FILE.yaml)": card.data or request.data,
        "which radius (--eps 8/255)": card.threat or request.eps,
    }
    unknown = [what for what, known in missing.items() if not known]
    if len(unknown) > 1:
        raise UserError(f"{weights} does not say {'; '.join(unknown)}: add these options")


def _ball(card: Card, request: Request) -> Ball:
    threat = card.threat
    eps = request.eps or (threat.eps if threat else None)
    if eps is None:
        raise UserError("these weights do not say against which radius they were trained: add --eps, such as --eps 8/255")
    if threat and request.norm not in (None, threat.norm) and request.eps is None:
        raise UserError(
            f"--norm {request.norm}: the weights name a radius of {threat.norm}; add --eps, as 0.5 for L2 on CIFAR"
        )
    ball = ball_of(request.norm or (threat.norm if threat else "Linf"), eps)
    if ball.doubt:
        warnings.warn(ball.doubt, stacklevel=1)
    return ball


def data_sections(card: Card, request: Request, weights: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `data:` section of the images that are asked for, and the same with paths that lead there from this folder."""
    section = _section(card, request, weights)
    if request.data_dir is not None:
        section = with_folder(section, request.data_dir)
    return section, section if request.data or request.data_dir else card_section(section, weights)


def _section(card: Card, request: Request, weights: Path) -> dict[str, Any]:
    """The `data:` section of the request's config, else that of the card; raises UserError where there is none of ours."""
    if request.data:
        return read_data(request.data)
    if not card.data:
        raise UserError(f"{weights} does not say on which data it was trained: add --data configs/<data>.yaml")
    ours = exported_classes(ard.data, DataModule)
    message = f"{weights} names data of {{}}, not of ard.data: pass them with --data FILE.yaml"
    if "class_path" not in card.data:
        raise UserError(message.format(card.data))
    check_classes(card.data, ours, message)
    return dict(card.data)


def _images(data: DataModule, request: Request, at_most: int | None) -> tuple[Tensor, Tensor]:
    images = data.test_images() if request.split == "test" else data.splits[1]
    limit = request.limit if at_most is None or at_most >= len(images) else at_most
    if request.limit is not None and not 0 < request.limit <= len(images):
        raise UserError(f"--limit {request.limit}: expected 1 to {len(images)}, the images of the {request.split} split")
    chosen = torch.arange(len(images)) if limit is None else balanced(images.labels, limit)
    check_labels(images.labels, data.num_classes)
    x, y = images.__getitems__(chosen.tolist())
    check_pixels(x, data.input_shape, chosen)
    return x, y
