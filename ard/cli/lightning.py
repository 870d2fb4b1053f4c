"""LightningCLI with our defaults and with errors of one line."""

import copy
import logging
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
import yaml
from jsonargparse.typing import register_type
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

import ard.attacks
from ard.artifacts.card import card_from, check_images_of, check_unseen, check_validation
from ard.artifacts.paths import RunFolder
from ard.cli.config_option import default_folder, with_files
from ard.cli.short_words import expanded, split_words
from ard.configs.building import OneLineErrors, keep_class_path, unbuildable, user_error
from ard.configs.files import check_finite, check_order
from ard.core.errors import UserError
from ard.core.locks import alone
from ard.core.radius import Radius
from ard.core.terminal import say
from ard.core.user_paths import written_out
from ard.data import DataModule
from ard.models.building import bounded, check_answers, copyable
from ard.models.loading import check_export
from ard.training import resume
from ard.training.callbacks.about import run_files
from ard.training.callbacks.guards import Guards
from ard.training.callbacks.logged_run import LoggedRun
from ard.training.callbacks.ranks import Ranks, is_first, know_rank, lost
from ard.training.callbacks.run_files import RunFiles
from ard.training.callbacks.screen import Screen
from ard.training.callbacks.signals import Stop
from ard.training.callbacks.teacher_accuracy import TeacherCheck
from ard.training.checkpoints import AtomicCheckpointIO, best_and_last
from ard.training.engine import Engine
from ard.training.explained import check_gradients, explained
from ard.training.loggers import fallback_logger, name_runs
from ard.training.metrics_csv import MetricsCSV
from ard.training.out_of_memory import explain_out_of_memory
from ard.training.room import check_room
from ard.training.trainer import TRAINER_DEFAULTS, Trainer, check_options, waits_for_all

for library in ("pytorch_lightning", "lightning_fabric"):  # here, because importing them sets their level to INFO
    logging.getLogger(library).setLevel(logging.WARNING)
logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)  # how they say what they were asked for

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the faster one, where PyYAML was built with it

for name in set(ard.__all__) & set(ard.attacks.__all__):
    keep_class_path(getattr(ard.attacks, name), f"ard.attacks.{name}")

register_type(Radius, serializer=str, deserializer=Radius, fail_already_registered=False)


class Parser(OneLineErrors, LightningArgumentParser):
    """Lightning's parser, whose errors are one line: what is wrong, what was expected, what to do."""

    def add_class_arguments(self, theclass: type, *args: Any, **options: Any) -> Any:
        """Of an engine, what its constructor for configs takes: the other one takes networks and names, too."""
        if not has_from_config(theclass):
            return super().add_class_arguments(theclass, *args, **options)
        known = {name: value for name, value in options.items() if name in ("skip", "fail_untyped", "sub_configs")}
        return self.add_method_arguments(theclass, "from_config", *args, **known)


def has_from_config(kind: type) -> bool:
    """Whether a class, or the one whose constructor it inherits, has another constructor for configs."""
    owner = next((base for base in getattr(kind, "__mro__", ()) if "__init__" in vars(base)), object)
    return "from_config" in vars(owner)


def engine_from_config(kind: type[Engine], *args: Any, **options: Any) -> Engine:
    """How the parser makes an engine."""
    return kind.from_config(*args, **options) if has_from_config(kind) else kind(*args, **options)  # type: ignore[attr-defined]


class CLI(LightningCLI):
    """`ard fit` and `ard validate`: base config first, recipe after."""

    def __init__(self, args: list[str]) -> None:
        args = expanded(args)
        self.configs = split_words(args[1:])[0]
        check_order(self.configs)
        with ExitStack() as self.held:  # the run's directory
            super().__init__(
                Engine,
                DataModule,
                save_config_callback=RunFiles,
                trainer_class=Trainer,
                trainer_defaults=TRAINER_DEFAULTS,
                seed_everything_default=0,
                parser_class=Parser,
                parser_kwargs={"prog": "ard"},
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                args=with_files(args),
            )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {name: LightningCLI.subcommands()[name] for name in ("fit", "validate")}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_class_arguments(Guards, "guards")
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")
        parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        parser.add_argument("--allow_mismatch", type=bool, default=False)
        if subcommand == "fit":
            parser.add_argument("--resume", type=Literal["auto"] | None, default=None)
            parser.add_argument("--allow_changes", type=bool, default=False)
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = written_out(parser.parse_args(args))
        seed = self.config[self.config.subcommand].seed_everything
        if not 0 <= seed < 2**32:
            raise UserError(f"seed_everything = {seed}: expected 0 to 4294967295")

    def _parse_ckpt_path(self) -> None:
        """Ignore the hyperparameters in a checkpoint: they do not change the configuration."""

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        for part in ("model", "data", "trainer"):
            check_finite(config[part], part)
        check_options(config.trainer)
        if config.trainer.default_root_dir is None:
            config.trainer.default_root_dir = default_folder(self.configs, config.seed_everything)

    def instantiate_classes(self) -> None:
        self.parser.add_instantiator(fallback_logger, Logger)
        self.parser.add_instantiator(engine_from_config, Engine)
        try:
            with bounded():
                super().instantiate_classes()
            self._try_student()
        except Exception as error:  # whatever a constructor says to values that it cannot use
            raise unbuildable(error) from error
        if self.model.threat.eps == 0:
            raise UserError("threat eps = 0: there is nothing to attack; expected a radius above 0, such as 8/255")
        if self.model.threat.doubt:
            warnings.warn(self.model.threat.doubt, stacklevel=1)

    def _try_student(self) -> None:
        """On as many images as a process will see, in train mode: shape errors belong before training, not into it."""
        data, model = self.datamodule, self.model
        share = data.batch_size // (self.trainer.world_size if self.trainer else 1)
        check_export(model.student, "the student")
        model.choose_memory_format(data.input_shape)
        with torch.random.fork_rng([]):
            student = copy.deepcopy(copyable(model.student)).requires_grad_(False).train()
            check_answers(student, data.input_shape, model.num_classes, "the student", min(2, share))
        together = self.trainer is not None and waits_for_all(self.trainer)
        check_gradients(model.student, data.input_shape, min(2, share), together=together)

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self._get(self.config_init, "trainer")
        directory, logger = config["default_root_dir"], config["logger"]
        if self.subcommand == "fit":
            kwargs["enable_progress_bar"] = True  # whether ours draws a bar is its own affair
        try:
            trainer = super().instantiate_trainer(
                logger=[MetricsCSV(directory), *as_list(logger)],
                callbacks=[*as_list(config["callbacks"]), *self._watchers(config), Ranks(), *self._checkpoints(directory)],
                plugins=[*as_list(config["plugins"]), AtomicCheckpointIO()],
                **kwargs,
            )
        except Exception as error:  # the trainer raises all sorts of things at options that it cannot use
            raise user_error(f"trainer: {error}", error) from error
        know_rank(trainer)
        if self.subcommand == "fit" and is_first():
            self.held.enter_context(alone(Path(directory)))
            check_room(Path(directory), self.model)
        if (files := run_files(trainer)) is not None:
            name_runs(trainer.loggers, lambda: files.name(RunFolder.of(directory)), self.model.seed)
        self._go_on(trainer, Path(directory), files)
        return trainer

    def _go_on(self, trainer: pl.Trainer, directory: Path, files: RunFiles | None) -> None:
        """From the checkpoint that the options name, where they name one; a trial run of Lightning's writes no files."""
        fits = self.subcommand == "fit"
        start = resume.start(self.config[self.subcommand], directory, fit=fits)
        if start is None:
            return
        card = card_from(start.content.get("ard", {}), start.path)
        allow_mismatch = self._get(self.config_init, "allow_mismatch")
        check_images_of(card, start.path, self.datamodule, allow_mismatch=allow_mismatch)
        if fits:
            check_unseen(card, start.path, self.datamodule, allow_mismatch=allow_mismatch)
        if not fits and not allow_mismatch and isinstance(self.datamodule, DataModule):
            check_validation(card, start.path, self.datamodule)
        if files is not None:
            run = files.run(trainer, self.datamodule)
            resume.check_fits(start, self.model, run)
        if files is not None and fits:
            allowed = self.config.fit.allow_changes
            files.resumed_with(resume.check_same(start, run, engine=self.model, allow_changes=allowed), card)
        self.config_init[self.subcommand]["ckpt_path"] = str(start.path)

    def _watchers(self, config: dict[str, Any]) -> list[pl.Callback]:
        """The screen first, so that an epoch has its line before a guard ends it."""
        if self.subcommand != "fit":
            return [TeacherCheck()]
        own = any(isinstance(callback, ProgressBar) for callback in as_list(config["callbacks"]))
        screen = [] if own else [Screen(bar=config["enable_progress_bar"] is not False)]
        teachers = TeacherCheck(allow_mismatch=self._get(self.config_init, "allow_mismatch"))
        return [teachers, *screen, *self._get(self.config_init, "guards").callbacks(), LoggedRun()]

    def _checkpoints(self, directory: str) -> list[pl.Callback]:
        return [*best_and_last(directory, self.model.training_block.monitor), Stop(directory)]

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand == "validate" and is_first():  # what a fit says when it begins
            say(f"configs: {', '.join(self.configs)}")
        with explain_out_of_memory(self.trainer, self.model):
            super()._run_subcommand(subcommand)

    @property
    def status(self) -> int:
        """The exit status of a command that has ended; that of a run is in the process that writes its files."""
        files = run_files(self.trainer)
        return 0 if files is None else files.status


class DryRun(CLI):
    """Parses a command and builds its parts, but trains nothing: a study checks all its runs before the first."""

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:  # noqa: ARG002
        return None  # type: ignore[return-value]

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {"fit": CLI.subcommands()["fit"]}  # a parser each costs time, and a study resolves hundreds of runs

    def _run_subcommand(self, subcommand: str) -> None:
        written = self._parser(subcommand).dump(self.config[subcommand], skip_unset=False, skip_validation=True)
        self.resolved = yaml.load(written, Loader=LOADER)


def as_list(option: Any) -> list[Any]:
    """An option of the trainer that may name one thing, several or none; `true` for a logger is metrics.csv."""
    return list(option) if isinstance(option, list | tuple) else [] if option in (None, True, False) else [option]


def run(args: list[str]) -> int:
    """The exit status of `ard fit` or `ard validate`; errors of Lightning about its options become one line, too."""
    try:
        return CLI(args).status
    except MisconfigurationException as error:
        raise user_error(str(error)) from error
    except (RuntimeError, OSError) as error:
        if (message := lost(error) or explained(error)) is None:
            raise
        raise message from error
    except SIGTERMException as error:  # Lightning would call it a success
        raise SystemExit(143) from error
    except SystemExit as error:  # how Lightning ends after Ctrl-C, with a status that says nothing
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def resolve_config(args: list[str]) -> dict[str, Any]:
    """The resolved config of an `ard fit` command whose parts can all be built; raises UserError where they cannot."""
    return DryRun(args).resolved
