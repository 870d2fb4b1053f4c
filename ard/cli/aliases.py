"""The options that people use most, each a short name for a dotted key of the config, which goes on to work."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ard.cli.known_classes import known_classes
from ard.cli.network_section import network_section
from ard.cli.source_keys import class_source
from ard.cli.teacher_places import teacher_places
from ard.core.errors import UserError
from ard.core.suggestions import did_you_mean, same_name

Tree = dict[str, Any]
Pairs = list[tuple[str, str]]  # dotted keys and their values


@dataclass(frozen=True)
class Alias:
    """One option: the key that it sets, how help shows its value, a sentence, other words that people try for it.

    `spelled` makes the keys and values where that takes more than the key: from the value, and from the config so far.
    """

    key: str
    value: str
    about: str
    tried: tuple[str, ...] = ()
    spelled: Callable[[str, Tree], Pairs] | None = None

    def pairs(self, value: str, config: Tree) -> Pairs:
        """The dotted keys that the option stands for; `config` is what the run's configs and other options say together."""
        return self.spelled(value, config) if self.spelled else [(self.key, value)]


def dashed(name: str) -> str:
    """An option as it is typed and shown: `--batch-size` of `batch_size`."""
    return f"--{name.replace('_', '-')}"


def _teacher(file: str, config: Tree) -> Pairs:
    """To the one teacher without weights, else to the one there is."""
    places = teacher_places(config.get("model") or {})
    chosen = [place for place, weights in places.items() if not weights] or list(places)
    if not chosen:
        raise UserError(
            f"--teacher {file}: no config names a teacher that is read from a file; expected a method that distils, "
            "such as rslad: `ard list methods`"
        )
    if any("[" in place for place in chosen):
        raise UserError(f"--teacher {file}: model.{chosen[0]} is in a list, which no option can fill; name it in a config")
    if len(chosen) > 1:
        options = " and ".join(f"--model.{place}.weights FILE" for place in chosen)
        raise UserError(f"--teacher {file}: one file for {len(chosen)} teachers; expected {options}")
    return [(f"model.{chosen[0]}.weights", file)]


def _student(name: str, config: Tree) -> Pairs:  # noqa: ARG001
    """A network of ours by its name; anything else as it is."""
    if not name.isidentifier() and not name.replace("-", "").isalnum():
        return [("model.student", name)]
    known = known_classes("models")
    found = same_name(name, known)
    if found is None:
        near = did_you_mean(name, known) or "; `ard list models` shows them"
        raise UserError(f"--student {name}: no network of ours{near}; one of your own is named by module and class")
    return [("model.student", f"ard.models.{found}")]


def _of_images(option: str, key: str) -> Callable[[str, Tree], Pairs]:
    """A key of the data; of their base, where they are mixed from others."""

    def pairs(value: str, config: Tree) -> Pairs:
        data = config.get("data")
        kind, place = _class_of(data), "data"
        source = class_source(kind)
        if source and key not in source.keys and "base" in source.keys and isinstance(data, dict):
            kind, place = _class_of(data.get("base")), "data.base"
            source = class_source(kind)
        if source and source.is_complete and key not in source.keys:
            raise UserError(f"{option} {value}: {kind} takes no `{key}`; expected no such option")
        return [(f"{place}.{key}", value)]

    return pairs


def _class_of(part: Any) -> str:
    return str(part.get("class_path") if isinstance(part, dict) else part)


def _logger(name: str, config: Tree) -> Pairs:
    loggers: dict[str, Any] = {"csv": True, "wandb": "pytorch_lightning.loggers.WandbLogger"}
    if name == "tensorboard":
        folder = (config.get("trainer") or {}).get("default_root_dir") or "."
        arguments = {"save_dir": folder, "name": "", "version": name}
        loggers[name] = {"class_path": "pytorch_lightning.loggers.TensorBoardLogger", "init_args": arguments}
    elif name not in loggers and "." not in name and not name.endswith("Logger"):
        names = [*loggers, "tensorboard"]
        end = did_you_mean(name, names) or f"; expected one of {', '.join(names)}, or a class"
        raise UserError(f"--logger {name}: no such logger{end}")
    chosen = loggers.get(name, name)
    return [("trainer.logger", chosen if isinstance(chosen, str) else json.dumps(chosen))]


def _network(option: str, config: Tree) -> Pairs:  # noqa: ARG001
    return [("model.teacher.network", json.dumps(network_section(option)))]


ALIASES = {
    "teacher": Alias("model.teacher.weights", "FILE", "the teacher's weights, or its run's folder", spelled=_teacher),
    "student": Alias(
        "model.student", "NAME", "the network that is trained: `ard list models`, or a class", spelled=_student
    ),
    "eps": Alias("model.threat.eps", "RADIUS", "the radius of the attack, such as 8/255", ("epsilon", "radius")),
    "epochs": Alias("trainer.max_epochs", "N", "passes over the training images", ("max_epochs", "n_epochs", "num_epochs")),
    "lr": Alias("model.training.lr", "NUMBER", "the highest learning rate", ("learning_rate",)),
    "batch_size": Alias(
        "data.batch_size",
        "N",
        "images a step, on all devices together",
        ("batch", "bs"),
        _of_images("--batch-size", "batch_size"),
    ),
    "data_dir": Alias(
        "data.root",
        "FOLDER",
        "where the images are, or are downloaded to",
        ("dataset", "data_root", "root"),
        _of_images("--data-dir", "root"),
    ),
    "out": Alias(
        "trainer.default_root_dir",
        "FOLDER",
        "the run's folder; by default checkpoints/<base>/<method>/seed<k>",
        ("output", "output_dir", "out_dir", "save_dir", "dir"),
    ),
    "seed": Alias("seed_everything", "N", "of every random draw", ("random_seed",)),
    "devices": Alias("trainer.devices", "N", "how many GPUs; by default all", ("gpus", "gpu", "device", "num_gpus")),
    "precision": Alias("trainer.precision", "KIND", "auto, 32-true, bf16-mixed or 16-mixed", ("amp", "dtype")),
    "logger": Alias(
        "trainer.logger",
        "NAME",
        "tensorboard, wandb or a class; metrics.csv is always written",
        ("wandb", "tensorboard", "log"),
        _logger,
    ),
    "average": Alias("model.training.average", "DECAY", "average the weights, such as 0.9995; null: do not", ("ema", "swa")),
    "init": Alias("model.init", "FILE", "weights that the student begins with", ("pretrained", "weights")),
    "resume": Alias("resume", "", "go on from the folder's newest checkpoint, if there is one", ("continue", "restart")),
    "network": Alias(
        "model.teacher.network",
        "NAME",
        "the network of the teacher's weights, where they do not say it",
        ("teacher_network",),
        _network,
    ),
}
