"""`ard evaluate`: weights in, record out."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ard.arguments import build, read_yaml
from ard.attacks import L2, Ball, Linf, Radius
from ard.data import DataModule, to_pixels
from ard.data.loading import balanced
from ard.errors import UserError
from ard.evaluation import check_suite, evaluate, write_record
from ard.models.weights import card_of, load, sha256
from ard.models.wrappers import Network


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure; None asks the weights' own card."""

    data: str | None = None
    network: str | None = None
    split: str = "test"
    limit: int | None = None
    suite: str = "quick"
    eps: str | None = None
    norm: str | None = None
    seed: int = 0

    def check(self) -> None:
        """Raises UserError for what could not be measured, before anything is trained for it."""
        check_suite(self.suite)
        if self.eps is not None:
            _norm(self.norm or "Linf")(eps=Radius(self.eps))

    def answered_by(self, record: dict[str, Any]) -> bool:
        """Whether a record measured what this asks for, so that it need not be measured again."""
        same = all(record[key] == getattr(self, key) for key in ("split", "limit", "suite", "seed"))
        norm, eps = record["threat"]["norm"], record["threat"]["eps"]
        return same and self.norm in (None, norm) and (self.eps is None or float(Radius(self.eps)) == eps)


def evaluate_file(weights: Path, request: Request) -> str:
    """Evaluate one file of weights, write the record beside it, print a summary, and return the verdict."""
    card = card_of(weights)
    network = build(Network, read_yaml(request.network)) if request.network else None
    ball = _ball(card, request)
    section = _data_section(card, request, weights)
    data: DataModule = build(DataModule, section)
    model = load(weights, network)
    x, y = _images(data, request)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _check_fit(model, x, data.num_classes, weights)
    with _progress(weights, len(y)) as advance:
        record = evaluate(
            model.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
            to_pixels(x).to(device),
            y.to(device),
            ball,
            suite=request.suite,
            seed=request.seed,
            classes=list(data.classes),
            progress=advance,
        )
    section = {"name": data.title, **section}
    record = _provenance(record, weights, card, section, request, x, y, type(model).__name__)
    write_record(record_path(weights), record)
    _print(record, weights)
    return str(record["verdict"])


def record_path(weights: Path) -> Path:
    """student.safetensors -> evaluation.json, other.safetensors -> other.evaluation.json."""
    return weights.with_name("evaluation.json" if weights.stem == "student" else f"{weights.stem}.evaluation.json")


def _provenance(
    record: dict[str, Any],
    weights: Path,
    card: dict[str, Any],
    section: dict[str, Any],
    request: Request,
    x: Tensor,
    y: Tensor,
    network: str,
) -> dict[str, Any]:
    path = weights.resolve()
    inside = path.is_relative_to(Path.cwd())
    digest = hashlib.sha256(x.numpy().tobytes() + y.numpy().tobytes()).hexdigest()[:16]
    return {
        "schema": record.pop("schema"),
        "weights": {"path": str(path.relative_to(Path.cwd()) if inside else path.name), "sha256": sha256(weights)},
        "model": {"class_path": card.get("class_path", network), "init_args": card.get("init_args", {})},
        "dataset": {**section, "digest": digest},
        "split": request.split,
        "limit": request.limit,
        **record,
        **{key: card.get(key) for key in ("recipe", "teacher", "training")},
    }


def _ball(card: dict[str, Any], request: Request) -> Ball:
    threat = card.get("threat", {})
    if not isinstance(threat, dict):
        raise UserError(f"these weights name the threat {threat!r}; expected norm and eps: add --norm and --eps")
    eps, norm = request.eps or threat.get("eps"), request.norm or threat.get("norm", "Linf")
    if eps is None:
        raise UserError("these weights do not say against which radius they were trained: add --eps, such as --eps 8/255")
    return _norm(norm)(eps=Radius(eps))


def _norm(name: str) -> type[Linf | L2]:
    norms: dict[str, type[Linf | L2]] = {"Linf": Linf, "L2": L2}
    if name not in norms:
        raise UserError(f"norm {name!r}: expected one of {', '.join(norms)}")
    return norms[name]


def _data_section(card: dict[str, Any], request: Request, weights: Path) -> dict[str, Any]:
    if request.data:
        section = read_yaml(request.data).get("data")
        if not section:
            raise UserError(f"{request.data} has no `data:` section; expected a base config such as configs/cifar10.yaml")
        return dict(section)
    section = card.get("data")
    if not section:
        raise UserError(f"{weights} does not say on which data it was trained: add --data configs/<data>.yaml")
    path = section.get("class_path") if isinstance(section, dict) else section
    if not (isinstance(section, dict) and str(path).startswith("ard.data.")):
        raise UserError(f"{weights} names data of {path}, not of ard.data: pass them with --data FILE.yaml")
    return dict(section)


def _images(data: DataModule, request: Request) -> tuple[Tensor, Tensor]:
    images = data.test_images() if request.split == "test" else data.splits[1]
    if request.limit is not None and not 0 < request.limit <= len(images):
        raise UserError(f"--limit {request.limit}: expected 1 to {len(images)}, the images of the {request.split} split")
    chosen = torch.arange(len(images)) if request.limit is None else balanced(images.labels, request.limit)
    return images.__getitems__(chosen.tolist())


def _check_fit(model: torch.nn.Module, x: Tensor, num_classes: int, weights: Path) -> None:
    try:
        with torch.no_grad():
            logits = model(to_pixels(x[:2]))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{weights} cannot read images of shape {tuple(x.shape[1:])}: {reason}") from error
    if isinstance(logits, Tensor) and logits.ndim == 2 and logits.shape[1] != num_classes:
        raise UserError(f"{weights} answers with {logits.shape[1]} classes, the data have {num_classes}")


@contextmanager
def _progress(weights: Path, total: int) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"evaluating {weights}", total=total)
        yield lambda images: progress.advance(task, images)


def _print(record: dict[str, Any], weights: Path) -> None:
    threat = f"{record['threat']['norm']} {record['threat']['eps']:.4g}"
    numbers = [("clean", record["clean_acc"])] + [(a["name"], a["accuracy"]) for a in record["attacks"]]
    failed = [f"{check['id']} ({check['reason']})" for check in record["checks"] if check["verdict"] == "fail"]
    worst = f"worst case {record['robust_acc']:.1%} ± {record['stderr']:.1%}"
    print(f"{weights}: {record['dataset']['name']} {record['split']}, n = {record['n']}, {threat}")
    print("  " + "  ".join(f"{name} {value:.1%}" for name, value in numbers))
    print(f"  UNRELIABLE: {', '.join(failed)}" if failed else f"  {worst}  ({record['verdict']})")
    print(f"  record: {record_path(weights)}")
