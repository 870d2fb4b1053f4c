"""What is trained on what: the same few facts for loggers, summary.json and the screen."""

import pytorch_lightning as pl
from torch import nn

from ard.artifacts.paths import RunFolder
from ard.artifacts.run_name import RunName
from ard.training.callbacks.run_files import RunFiles
from ard.training.engine import Engine


def described_run(trainer: pl.Trainer, engine: Engine) -> dict[str, str | int | float | None]:
    """One plain value a fact, by the name under which loggers show it."""
    name, training = run_name(trainer), engine.training_block
    return {
        "study": name.study if name else None,
        "method": name.method if name else type(engine.objective).__name__,
        "data": engine.data.title,
        "student": network_name(engine.student),
        "teacher": str(getattr(engine.teacher, "weights", "") or type(engine.teacher).__name__) if engine.teacher else None,
        "norm": engine.threat.norm,
        "eps": engine.threat.eps,
        "seed": engine.seed,
        "epochs": engine.epochs * (engine.replays or 1),
        "batch_size": engine.data.batch_size,
        "lr": training.lr,
        "average": training.average,
        "engine": type(engine).__name__,
        "objective": type(engine.objective).__name__,
        "attack": "replays" if engine.replays else type(engine.attack).__name__,
        "attack_steps": engine.replays or engine.attack.steps,
        "precision": str(trainer.precision),
        "devices": trainer.world_size,
        **{f"swept/{key}": value for key, value in (name.swept if name else {}).items()},
    }


def run_files(trainer: pl.Trainer) -> RunFiles | None:
    """What writes the run's files; None under a plain trainer."""
    return next((callback for callback in trainer.callbacks if isinstance(callback, RunFiles)), None)  # type: ignore[attr-defined]


def run_name(trainer: pl.Trainer) -> RunName | None:
    """The name of the run; None where nobody has given it one."""
    files = run_files(trainer)
    return None if files is None else files.name(RunFolder.of(trainer.default_root_dir))


def network_name(network: nn.Module) -> str:
    """The class of a network, that inside where it only normalises."""
    inside = getattr(network, "network", None)
    return type(inside if isinstance(inside, nn.Module) else network).__name__
