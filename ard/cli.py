"""LightningCLI with our defaults and with errors of one line."""

import logging
import re
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import yaml
from jsonargparse.typing import register_type
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from ard.arguments import read_yaml, user_error
from ard.attacks import Radius
from ard.data import DataModule
from ard.engine import Engine
from ard.errors import UserError
from ard.run.checkpoints import AtomicCheckpointIO, best_and_last
from ard.run.files import RunFiles
from ard.run.metrics import MetricsCSV
from ard.run.trainer import TRAINER_DEFAULTS, Trainer

for library in ("pytorch_lightning", "lightning_fabric"):  # here, because importing them sets their level to INFO
    logging.getLogger(library).setLevel(logging.WARNING)

register_type(Radius, serializer=str, deserializer=Radius, fail_already_registered=False)


class Parser(LightningArgumentParser):
    """A parser whose errors are one line: found, expected, what to do."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise user_error(message, ex)


class CLI(LightningCLI):
    """`ard fit` and `ard validate`: base config first, recipe after."""

    def __init__(self, args: list[str]) -> None:
        self.configs = re.findall(r"(?:^|\n)(?:-c|--config)[\n=](.+)", "\n".join(args))
        check_order(self.configs)
        super().__init__(
            Engine,
            DataModule,
            save_config_callback=RunFiles,
            trainer_class=Trainer,
            trainer_defaults=TRAINER_DEFAULTS,
            seed_everything_default=0,
            parser_class=Parser,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=args,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {name: LightningCLI.subcommands()[name] for name in ("fit", "validate")}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("seed_everything", "model.init_args.seed")
        parser.link_arguments("seed_everything", "data.init_args.seed")
        parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args)

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        if config.trainer.default_root_dir is None:
            names = [Path(path).stem for path in self.configs] or ["fit"]
            config.trainer.default_root_dir = "/".join(["checkpoints", *names[:2], f"seed{config.seed_everything}"])

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:  # the parser wraps what our constructors raise
            raise user_error(str(error), error) from error

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self._get(self.config_init, "trainer")
        directory, logger = config["default_root_dir"], config["logger"]
        checkpoint = self.config[self.subcommand].ckpt_path
        if checkpoint not in (None, "last", "best") and not Path(checkpoint).is_file():
            raise UserError(f"--ckpt_path {checkpoint}: no such checkpoint; expected a file, or last")
        if self.subcommand == "fit" and checkpoint is None and Path(directory, "last.ckpt").exists():
            raise UserError(
                f"{directory} already holds a run: --ckpt_path last continues it, --trainer.default_root_dir DIR starts anew"
            )
        loggers = logger if isinstance(logger, list) else [logger] if logger not in (None, True, False) else []
        try:
            return super().instantiate_trainer(
                logger=[MetricsCSV(directory), *loggers],
                callbacks=[*(config["callbacks"] or []), *best_and_last(directory, self.model.training_block.monitor)],
                plugins=[*(config["plugins"] or []), AtomicCheckpointIO()],
                **kwargs,
            )
        except Exception as error:  # the trainer raises all sorts of things at options that it cannot use
            raise user_error(f"trainer: {error}", error) from error


class Rehearsal(CLI):
    """Parses a command and builds its parts, but trains nothing: a study checks all its runs before the first."""

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:  # noqa: ARG002
        return None  # type: ignore[return-value]

    def _run_subcommand(self, subcommand: str) -> None:
        self.resolved = yaml.safe_load(self._parser(subcommand).dump(self.config[subcommand], skip_none=False))


def run(args: list[str]) -> None:
    """`ard fit` or `ard validate`; what Lightning finds wrong with the trainer's options is the user's to mend, too."""
    try:
        CLI(args)
    except MisconfigurationException as error:
        raise user_error(str(error)) from error
    except SIGTERMException as error:  # Lightning would call it a success
        raise SystemExit(143) from error
    except SystemExit as error:  # how Lightning ends after Ctrl-C, with a status that says nothing
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def rehearse(args: list[str]) -> dict[str, Any]:
    """The resolved config of an `ard fit` command whose parts can all be built; raises UserError where they cannot."""
    return Rehearsal(args).resolved


def check_order(configs: list[str]) -> None:
    """Raises UserError where a recipe comes before its base: the base would silently take back what the recipe set."""
    seen_recipe = ""
    for path in configs:
        is_base = "data" in read_yaml(path)
        if is_base and seen_recipe:
            raise UserError(
                f"-c {seen_recipe} comes before -c {path}: expected the base (with `data:`) first, recipes after"
            )
        seen_recipe = seen_recipe or ("" if is_base else path)
