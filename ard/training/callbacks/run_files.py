"""The files of a run: its config, and its weights with a card that describes them."""

import warnings
from functools import cached_property
from typing import Any

import pytorch_lightning as pl
import yaml
from pytorch_lightning.cli import SaveConfigCallback

from ard.artifacts.card import Card
from ard.artifacts.checkpoint import read_checkpoint
from ard.artifacts.facts import Recipe, Threat, TrainingFacts, hashes
from ard.artifacts.paths import BEST, LAST, STUDENT, RunFolder
from ard.artifacts.run_name import RunName, method_of, read_run_name, write_run_name
from ard.artifacts.weights import read_weights, save_weights
from ard.configs.catalogue import short_config_path
from ard.configs.files import base_and_method
from ard.core.devices import device_name
from ard.core.errors import UserError
from ard.core.files import replaced_since, write_whole
from ard.training.callbacks.outcome import announce_weights
from ard.training.checkpoints import selected_by
from ard.training.config_digest import RESUMED_WITH, START, as_before, by_contents, digest_of, essentials
from ard.training.engine import Engine
from ard.training.metrics_csv import MetricsCSV
from ard.training.resume import check_schedule, describe
from ard.training.selection import cut_short
from ard.training.work_done import WorkDone


class RunFiles(SaveConfigCallback):
    """Writes config.yaml when training starts and student.safetensors and last.safetensors when it ends."""

    def __init__(self, parser: Any, config: Any, **kwargs: Any) -> None:
        super().__init__(parser, config, save_to_log_dir=False, **kwargs)
        resolved = yaml.safe_load(parser.dump(config, skip_unset=False))
        self.resolved = {key: value for key, value in resolved.items() if key not in START}
        objective = self.resolved["model"]["init_args"]["objective"]["class_path"]
        self.configs = [short_config_path(str(path)) for path in config.get("config") or ()]
        self.method = method_of(base_and_method(self.configs), objective)
        self.changes: list[str] = []  # those that the run has been through, where it was resumed with other options
        self.read: dict[str, str] = {}  # the SHA-256 of the files that teachers and start were read from, by path
        self.learned_before: set[str] | None = set()  # digests of images, as the checkpoint says that the run goes on from
        self.work = WorkDone()
        self.status = 0  # of the command, once the run has ended

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Later, in on_train_start: a run that is refused leaves nothing behind."""

    @cached_property
    def essentials(self) -> dict[str, Any]:
        """What the result depends on; teachers are read once, however often a checkpoint is written."""
        return self._essentials()

    def _essentials(self) -> dict[str, Any]:
        changed = {RESUMED_WITH: self.changes} if self.changes else {}
        return essentials(self.resolved, self.read) | changed

    def resumed_with(self, changes: list[str], card: Card) -> None:
        """From now on the run is one that began otherwise: its digest is not that of a run with these options throughout."""
        self.learned_before = None if card.learned is None else set(card.learned)
        if changes:
            vars(self)["essentials"] = {**self.essentials, RESUMED_WITH: changes}
            self.changes = changes

    def run(self, trainer: pl.Trainer, data: Any) -> dict[str, Any]:
        """The description of the run that checkpoints hold."""
        return describe(self.essentials, trainer, data)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Engine)
        check_schedule(trainer, pl_module)
        self._know(pl_module)
        if trainer.is_global_zero:
            self._write_config(RunFolder.of(trainer.default_root_dir))
        loop = trainer.fit_loop.epoch_loop
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):  # inside an epoch a checkpoint is written before its step is logged
                logger.resume_before(loop._batches_that_stepped + loop.restarted_on_train_batch_end)
        self.work.begin(trainer.strategy.root_device)

    def _know(self, engine: Engine) -> None:
        """From now on teachers and start count as what was read, whatever their files become; a resumed run has looked."""
        self.read = engine.files
        used = self._essentials()
        if vars(self).setdefault("essentials", used) != used:
            raise UserError("a file of weights was replaced while the run began: expected one; start it again")

    def _write_config(self, folder: RunFolder) -> None:
        """The configuration, and the run's name where no study has written one."""
        folder.root.mkdir(parents=True, exist_ok=True)
        write_whole(folder.config, yaml.safe_dump(self.resolved, sort_keys=False))
        if read_run_name(folder, digest_of(self.essentials)) is None:
            write_run_name(folder, self.name(folder))

    def name(self, folder: RunFolder) -> RunName:
        """The run's name: that of its study, else that of its recipe."""
        digest = digest_of(self.essentials)
        alone = RunName(study=None, method=self.method, role="student", swept={}, config_digest=digest)
        return read_run_name(folder, digest) or alone

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:  # noqa: ARG002
        assert isinstance(pl_module, Engine)
        bare = pl_module.ball.eps == 0 < pl_module.threat.eps  # such a step attacks nothing
        self.work.begin_step("bare" if bare else str(pl_module.attack_steps or "whole"))

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        self.work.end_step(len(batch[1]), trainer.world_size)

    def on_validation_start(self, *_: Any) -> None:
        self.work.pause()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.work.pause()

    def on_exception(self, *_: Any) -> None:
        self.work.give_up_step()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        try:
            if trainer.is_global_zero and not trainer.interrupted:
                self._write_weights(trainer, pl_module)
        finally:  # no process ends, or goes on in a script, before the files are there
            trainer.strategy.barrier()

    def _write_weights(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for line in replaced_since(self.read):
            warnings.warn(f"{line}; the student was trained with the first", stacklevel=1)
        folder, written = RunFolder.of(trainer.default_root_dir), []
        chosen = selected_by(trainer)
        for name, file in ((LAST, LAST), (BEST, STUDENT)):  # last first: a damaged best one must not prevent it
            checkpoint = folder.checkpoint(name)
            if checkpoint.is_file():
                epoch = int(read_checkpoint(checkpoint)["epoch"])
                training = self.training(trainer, pl_module, "last epoch" if name == LAST else chosen, epoch)
                written.append((folder.weights(file), self.card(pl_module, training)))
                save_weights(written[-1][0], read_weights(checkpoint)[0], written[-1][1])
        if written:
            self.status = announce_weights(folder, *written[-1], cut_short(trainer))

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        training = self.training(trainer, pl_module, "checkpoint", trainer.current_epoch)
        checkpoint["ard"] = self.card(pl_module, training).tree
        checkpoint["run"] = self.run(trainer, pl_module.data)

    def card(self, engine: pl.LightningModule, training: TrainingFacts) -> Card:
        """The card of the weights: network, data, recipe, teacher, training block."""
        assert isinstance(engine, Engine)
        arguments = self.resolved["model"]["init_args"]
        student, objective = arguments["student"], by_contents(arguments["objective"], self.read)
        teachers = dict(hashes(by_contents(arguments.get("teacher") or {}, self.read), "teacher"))
        return Card(
            class_path=student["class_path"],
            init_args=student.get("init_args"),
            num_classes=engine.num_classes,
            classes=tuple(engine.data.classes),
            additional_data=engine.data.additional,
            input_shape=tuple(engine.data.input_shape),
            data=by_contents(self.resolved["data"], {}),
            recipe=Recipe(
                engine=self.resolved["model"]["class_path"],
                class_path=objective["class_path"],
                init_args=objective.get("init_args"),
            ),
            teacher=engine.teacher.sha256 if engine.teacher is not None else None,
            members=teachers if len(teachers) > 1 else None,
            threat=Threat(norm=engine.threat.norm, eps=engine.threat.eps),
            training=training,
            pruned=engine.pruned,
            learned=self.learned(engine),
        )

    def learned(self, engine: Engine) -> tuple[str, ...] | None:
        """The digests of all images that the weights have seen: in this run and before; None where nobody knows them all."""
        files = getattr(engine.data, "image_files", None)
        own = files.learned if files else None
        if own is None or self.learned_before is None or engine.learned_before is None:
            return None
        return tuple(sorted({*own, *self.learned_before, *engine.learned_before}))

    def training(self, trainer: pl.Trainer, engine: pl.LightningModule, selected_by: str, epoch: int) -> TrainingFacts:
        """How the run went up to now."""
        assert isinstance(engine, Engine)
        device_seconds, done = self.device_seconds(trainer), self.work.counts
        seconds = done["seconds"]
        return TrainingFacts(
            block=as_before("training", self.resolved["model"]["init_args"]["training"]),
            epochs=self.resolved["trainer"]["max_epochs"],
            seconds=round(seconds, 1),
            images_per_s=round(done["images"] / seconds, 1) if seconds else None,
            device_seconds=device_seconds,
            pflop=float(f"{done['flops'] / 1e15:.4g}"),
            device=device_name(trainer.strategy.root_device),
            precision=str(trainer.precision),
            selected_by=selected_by,
            epoch=epoch,
            seed=engine.seed,
            config_digest=digest_of(self.essentials),
            resumed_with=tuple(self.changes) or None,
            processes=trainer.world_size if trainer.world_size > 1 else None,
            init=next(iter(engine.start.values()), None),
        )

    def device_seconds(self, trainer: pl.Trainer) -> float:
        """What all devices worked on training steps up to now."""
        return round(self.work.up_to_now()["device_seconds"] * trainer.world_size, 1)

    def state_dict(self) -> dict[str, Any]:
        return self.work.up_to_now()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.work.go_on_from(state)
