"""The facts that both a record and the card of weights hold: the network, the threat, the recipe and the training run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ard.artifacts.typed_json import OMITTED, Count, Fraction, Size
from ard.core.text import radius

SWITCHES = ("augmentation", "padding_mode", "rotation", "cutmix")  # of the data; a config holds those that differ from plain
LABELS = ("labelled", "unlabelled", "wrong", "wrong_as")  # of labels; likewise
OF_DATA = {"extra augmentation": SWITCHES, "labels": LABELS}  # settings of which only a config says anything
NO_EPOCH = "none"  # `selected_by` of weights that stand for a best epoch where none is above chance


@dataclass(frozen=True, kw_only=True)
class Threat:
    """How far an image may be moved: `eps` in units of pixels in [0, 1]; with `eight_bit` only to levels of 8 bits."""

    norm: str
    eps: Size
    eight_bit: bool | None = field(default=None, metadata=OMITTED)

    @property
    def words(self) -> str:
        """As people write it."""
        return f"{self.norm} {radius(self.eps)}{', images of 8 bits' if self.eight_bit else ''}"


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network as configurations name it."""

    class_path: str
    init_args: dict[str, Any]

    @property
    def innermost(self) -> "NetworkSpec":
        """The network itself, without the wrappers around it."""
        inner = self.init_args.get("network")
        if not isinstance(inner, dict) or not isinstance(inner.get("class_path"), str):
            return self
        init_args = inner.get("init_args")
        return NetworkSpec(
            class_path=inner["class_path"], init_args=init_args if isinstance(init_args, dict) else {}
        ).innermost

    @property
    def class_name(self) -> str:
        """The last part of the class path."""
        return self.class_path.rpartition(".")[2]

    @property
    def architecture(self) -> str:
        """WideResNet-34-10, the name in somebody's library, or the class of the network."""
        network = self.innermost
        kind, settings = network.class_name, network.init_args
        if kind in ("Torchvision", "Timm"):
            return str(settings.get("name", kind))
        return "-".join([kind, *(str(settings[key]) for key in ("depth", "widen") if key in settings)])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The way to train and the objective; networks inside its arguments stand with the SHA-256 of their weights."""

    engine: str
    class_path: str
    init_args: dict[str, Any] | None = field(default=None, metadata=OMITTED)


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """How a training run went: `selected_by` a metric, as the last epoch, or none, `epoch` counted from 0.

    By none where no epoch was above chance, so that the last one stands for a best one.

    `seconds` are by the clock, with validation. `device_seconds` are of the training steps alone, without validation: on a
    CPU those of all threads, with those that wait for each other, on a GPU by the clock, times the number of processes.

    `config_digest` names everything the result depends on; `config` is what it is the digest of, where that is known.
    `resumed_with` are the changes of its options that the run has been through. `processes` is how many trained together,
    each with BatchNorm statistics of its share of a batch; None for one, and where an older version did not say it.
    `init` is the SHA-256 of the weights that the student began with; None where it began with random ones.
    """

    block: dict[str, Any]
    epochs: int | None
    seconds: Size
    images_per_s: Size | None
    device_seconds: Size | None = field(default=None, metadata=OMITTED)
    pflop: Size | None = field(default=None, metadata=OMITTED)
    device: str
    precision: str
    selected_by: str
    epoch: int
    seed: int
    config_digest: str
    config: dict[str, Any] | None = field(default=None, metadata=OMITTED)
    resumed_with: tuple[str, ...] | None = field(default=None, metadata=OMITTED)
    processes: Count | None = field(default=None, metadata=OMITTED)
    init: str | None = field(default=None, metadata=OMITTED)

    @property
    def of_last_epoch(self) -> bool:
        """Whether the weights are simply those of the last epoch."""
        return self.selected_by == "last epoch"

    @property
    def of_no_epoch(self) -> bool:
        """Whether the run had an epoch to select, and none was above chance: the weights may always name one class."""
        return self.selected_by == NO_EPOCH

    @property
    def settings(self) -> dict[str, Any]:
        """What the table compares between rows: training block, precision, epochs, and what is not as usual."""
        known = {**self.block, "precision": self.precision, "epochs": self.epochs}
        for name, keys in OF_DATA.items():
            if found := said((self.config or {}).get("data"), keys):
                known[name] = ", ".join(f"{key} {value}" for key, value in found.items()).replace("augmentation ", "")
        if self.resumed_with:
            known["resumed with"] = ", ".join(self.resumed_with)
        if self.processes:
            known["processes"] = self.processes
        return known


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """How weights were pruned, by `ard prune`; which of them were is in the weights: every exact zero stays one.

    `keep` is the share that was asked for, `of` the SHA-256 of the file that was pruned, `nonzero` the number of parameters
    that were not zero then, biases and BatchNorm included, without channels that were cut out; `method` the one of the run
    that was pruned, where its folder names it; `teacher` the SHA-256 of the network that was compared with.
    """

    how: str
    keep: Fraction
    of: str
    nonzero: Count
    seed: Count
    method: str | None = field(default=None, metadata=OMITTED)
    teacher: str | None = field(default=None, metadata=OMITTED)

    @property
    def words(self) -> str:
        """As tables and folders are called: ard-magnitude-0.5, ard-fanout-teacher-0.5."""
        compared = "teacher" if self.teacher else None
        return "-".join(filter(None, [self.method, self.how, compared, f"{self.keep:g}"]))


def teacher_files(arguments: dict[str, Any], teachers: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The path of each teacher in a configuration's `model.init_args`, with the hash that `teachers` have at its place.

    A place that this configuration does not have, as of another recipe, is left out.
    """
    for place, sha256_then in teachers.items():
        node: Any = arguments
        try:
            for key in (*place.split("."), "init_args", "weights"):
                node = node[int(key) if isinstance(node, list) else key]
        except (LookupError, TypeError, ValueError):
            continue
        if isinstance(node, str):
            yield node, sha256_then


def fold_of(data: Any) -> int | None:
    """Which fold of all images a configuration of the data keeps for test; None for the data set's own test split."""
    fold = said(data, ("fold",)).get("fold")
    return fold if isinstance(fold, int) else None


def said(data: Any, keys: Sequence[str]) -> dict[str, Any]:
    """What a configuration of the data says for these keys; where it has another data set inside, as that one does."""
    arguments = data.get("init_args") if isinstance(data, dict) else None
    if not isinstance(arguments, dict):
        return {}
    named = {key: arguments[key] for key in keys if arguments.get(key) is not None}
    return said(arguments.get("base"), keys) | named


def hashes(tree: Any, place: str) -> Iterator[tuple[str, str]]:
    """Networks in a tree of arguments that stand with the hash of their weights, by their place below the tree's own."""
    if isinstance(tree, dict):
        arguments = tree.get("init_args")
        if "class_path" in tree and isinstance(arguments, dict) and isinstance(arguments.get("sha256"), str):
            yield place, arguments["sha256"]
            return
    parts = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in parts:
        yield from hashes(value, f"{place}.{key}")
