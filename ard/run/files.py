"""What a run leaves: its config, its weights with a card that says everything about them."""

import hashlib
import json
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.cli import SaveConfigCallback

from ard.engine import Engine
from ard.files import write_whole
from ard.flops import FlopCounter
from ard.models.weights import read_weights, save_weights, sha256
from ard.run.checkpoints import BEST, LAST, read_checkpoint
from ard.run.metrics import MetricsCSV
from ard.run.outcome import announce
from ard.run.resume import check_schedule, describe

# What a run may change without becoming another run: where it writes, how it shows itself, where the teacher lies.
PRESENTATION = (
    "default_root_dir",
    "logger",
    "enable_progress_bar",
    "enable_model_summary",
    "log_every_n_steps",
    "callbacks",
)
START = ("config", "ckpt_path", "weights_only", "resume", "allow_changes")  # how a run starts, not what it is
GUARDS = "guards"  # change no run in which nothing goes wrong
TEACHERS = ("ard.models.Frozen", "ard.models.Cached")


class RunFiles(SaveConfigCallback):
    """Writes config.yaml when training starts and student.safetensors and last.safetensors when it ends."""

    def __init__(self, parser: Any, config: Any, **kwargs: Any) -> None:
        super().__init__(parser, config, save_to_log_dir=False, **kwargs)
        resolved = yaml.safe_load(parser.dump(config, skip_none=False))
        self.resolved = {key: value for key, value in resolved.items() if key not in START}
        self.clock = {"seconds": 0.0, "images": 0, "flops_per_image": 0.0}
        self._since = 0.0
        self._counter: FlopCounter | None = None

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Later, in on_train_start: a run that is refused leaves nothing behind."""

    @cached_property
    def essentials(self) -> dict[str, Any]:
        """What the result depends on; teachers are read once, however often a checkpoint is written."""
        return essentials(self.resolved)

    def run(self, trainer: pl.Trainer) -> dict[str, Any]:
        """What checkpoints say of their run."""
        return describe(self.essentials, trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Engine)
        check_schedule(trainer, pl_module)
        if trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / "config.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, yaml.safe_dump(self.resolved, sort_keys=False))
        loop = trainer.fit_loop.epoch_loop
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):  # inside an epoch a checkpoint is written before its step is logged
                logger.resume_before(loop._batches_that_stepped + loop.restarted_on_train_batch_end)
        self._since = time.monotonic()

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step and not self.clock["flops_per_image"]:  # not the first: it also looks for what can be folded
            self._counter = FlopCounter()
            self._counter.__enter__()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        images = len(args[2][1])
        self.clock["images"] += images * trainer.world_size
        if self._counter is not None:
            self.clock["flops_per_image"] = self._counter.total / images
            self._stop_counting()

    def on_exception(self, *_: Any) -> None:
        self._stop_counting()

    def _stop_counting(self) -> None:
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            self._counter = None

    def _tick(self) -> None:
        now = time.monotonic()
        self.clock["seconds"] += now - self._since
        self._since = now

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or trainer.interrupted:
            return
        directory, written = Path(trainer.default_root_dir), []
        for name, file in ((LAST, "last"), (BEST, "student")):  # a damaged best one keeps nobody from the last
            checkpoint = directory / f"{name}.ckpt"
            if checkpoint.is_file():
                epoch = int(read_checkpoint(checkpoint)["epoch"])
                card = self.card(trainer, pl_module, selected_by="last epoch" if name == LAST else None, epoch=epoch)
                written.append((directory / f"{file}.safetensors", card))
                save_weights(written[-1][0], read_weights(checkpoint)[0], card)
        if written:
            announce(trainer, *written[-1])

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["ard"] = self.card(trainer, pl_module, selected_by="checkpoint", epoch=trainer.current_epoch)
        checkpoint["run"] = self.run(trainer)

    def card(
        self, trainer: pl.Trainer, engine: pl.LightningModule, *, selected_by: str | None, epoch: int
    ) -> dict[str, Any]:
        """Everything a reader of the weights may ask: network, data, recipe, teacher, training block."""
        assert isinstance(engine, Engine)
        arguments = self.resolved["model"]["init_args"]
        seconds = self.clock["seconds"]
        return {
            **arguments["student"],
            "num_classes": engine.num_classes,
            "classes": list(engine.data.classes),
            "additional_data": engine.data.additional,
            "input_shape": list(engine.data.input_shape),
            "data": self.resolved["data"],
            "recipe": {"engine": self.resolved["model"]["class_path"], **by_contents(arguments["objective"], {})},
            "teacher": engine.teacher.sha256 if engine.teacher is not None else None,
            "threat": {"norm": engine.threat.norm, "eps": engine.threat.eps},
            "training": {
                "block": arguments["training"],
                "epochs": self.resolved["trainer"]["max_epochs"],
                "seconds": round(seconds, 1),
                "images_per_s": round(self.clock["images"] / seconds, 1) if seconds else None,
                "pflop": float(f"{self.clock['flops_per_image'] * self.clock['images'] / 1e15:.4g}"),
                "device": trainer.strategy.root_device.type,
                "precision": str(trainer.precision),
                "selected_by": selected_by or engine.training_block.monitor,
                "epoch": epoch,
                "seed": engine.seed,
                "config_digest": digest_of(self.essentials),
            },
        }

    def state_dict(self) -> dict[str, Any]:
        self._tick()
        return dict(self.clock)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.clock = {**self.clock, **state}


def config_digest(config: dict[str, Any], known: Mapping[str, str] | None = None) -> str:
    """A digest of everything in a resolved config that the result depends on; teachers count by their contents.

    `known` has the digests of weights by their path, for those that are not there any more.
    """
    return digest_of(essentials(config, known))


def digest_of(essentials: dict[str, Any]) -> str:
    """Short, of a config that was reduced to its essentials."""
    return hashlib.sha256(json.dumps(essentials, sort_keys=True).encode()).hexdigest()[:16]


def essentials(config: dict[str, Any], known: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The part of a resolved config that the result depends on, as the first records called it."""
    config = json.loads(json.dumps({key: value for key, value in config.items() if key not in (*START, GUARDS)}))
    for key in PRESENTATION:
        config["trainer"].pop(key, None)
    if config["trainer"]["precision"] == "auto":
        config["trainer"]["precision"] = None  # as it was called when the first records were written
    if config["model"]["init_args"].get("weight_perturbation") is None:
        config["model"]["init_args"].pop("weight_perturbation", None)  # those records did not know it
    config["data"]["init_args"].pop("name", None)
    config["model"] = by_contents(config["model"], known or {})
    return config


def by_contents(tree: dict[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    """A config in which every teacher's path has given way to the SHA-256 of its weights, null where there are none."""
    tree = dict(tree)
    for key, value in tree.items():
        if isinstance(value, dict):
            tree[key] = by_contents(value, known)
        elif isinstance(value, list):
            tree[key] = [by_contents(part, known) if isinstance(part, dict) else part for part in value]
    if str(tree.get("class_path", "")).startswith(TEACHERS):
        path = tree["init_args"].pop("weights", "")
        tree["init_args"]["sha256"] = known.get(path) or (sha256(path) if Path(path).is_file() else None)
    return tree
