"""Resuming a run: from which checkpoint, and whether that checkpoint belongs to this run."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from ard.artifacts.checkpoint import progress, read_checkpoint
from ard.artifacts.paths import BEST, LAST, PREVIOUS, RunFolder
from ard.core.errors import UserError
from ard.core.terminal import say
from ard.models.loading import mismatch
from ard.objectives.base import Objective
from ard.training.callbacks.ranks import is_first
from ard.training.checkpoints import sign
from ard.training.config_digest import RESUMED_WITH
from ard.training.engine import Engine

NAMES = (BEST, PREVIOUS, LAST)  # of the same step, the later one knows more
# What a checkpoint's optimiser and scheduler hold.
HELD = r"training\.(lr|(least_)?momentum|nesterov|weight_decay|schedule|milestones|gamma|warmup): (?!not set)"
HELD += r"|training\.optimizer\b|objective\.(.*\.)?teacher_lr: "
MAY_CHANGE = ("data.init_args.workers", "data.init_args.root")  # and max_epochs may grow


@dataclass(frozen=True)
class Start:
    """The checkpoint a run resumes from; its tensors stay on disk."""

    path: Path
    content: dict[str, Any]

    @property
    def step(self) -> int:
        return progress(self.content)[0]


def start(options: Any, directory: Path, *, fit: bool) -> Start | None:
    """The checkpoint a run with these options resumes from; raises UserError where it would overwrite another run."""
    if options.weights_only is False:
        raise UserError("--weights_only false: checkpoints are read without running what they hold; leave it out")
    if options.ckpt_path is not None:
        if options.get("resume"):
            raise UserError(f"--resume {options.resume} and --ckpt_path {options.ckpt_path}: expected one of them")
        chosen = open_checkpoint(options.ckpt_path, directory)
        if not fit or chosen.path.parent.resolve() == directory.resolve():
            return chosen
    elif not fit:
        raise UserError("--ckpt_path is missing: expected the checkpoint to validate, such as --ckpt_path best")
    elif options.resume:
        return automatic(directory)
    else:
        chosen = None
    if RunFolder(directory).checkpoints:
        raise UserError(f"{directory} already holds a run: --resume auto continues it, --out DIR starts anew")
    return chosen


def newest(directory: Path) -> tuple[Start | None, list[str]]:
    """The valid checkpoint of the latest step in a directory, and why others were skipped.

    By the step inside the files: clocks go backwards, and names sort as they like.
    """
    valid, refused = [], []
    for path in RunFolder(directory).checkpoints:
        try:
            valid.append(Start(path, read_checkpoint(path)))
        except UserError as error:
            refused.append(str(error))
    return max(valid, key=_age, default=None), refused


def _age(start: Start) -> tuple[int, int, int]:
    return *progress(start.content), NAMES.index(start.path.stem) if start.path.stem in NAMES else -1


def automatic(directory: Path) -> Start | None:
    """--resume auto: reports the checkpoint it takes and those it skips; None where the directory holds no checkpoint."""
    start, refused = newest(directory)
    if start is None and refused:
        raise UserError(f"{directory} holds no valid checkpoint ({'; '.join(refused)}): --out DIR starts anew")
    if start is None:
        _tell(f"{directory} holds no checkpoint: a new run")
    else:
        if is_first():
            sign(start.path)
        passed = "".join(f"; skipped: {reason}" for reason in refused)
        _tell(f"resuming from {start.path}, step {start.step}{passed}")
    return start


def open_checkpoint(path: str, directory: Path) -> Start:
    """--ckpt_path: a file, or last, previous, best of the directory; an error tells which other checkpoint is valid."""
    file = RunFolder(directory).checkpoint(path) if path in NAMES else path
    try:
        return Start(Path(file), read_checkpoint(file))
    except UserError as error:
        other = newest(Path(file).parent)[0] if "://" not in path else None
        if other is None:
            raise
        way = "--resume auto" if other.path.parent == directory else f"--ckpt_path {other.path}"
        raise UserError(f"{error}; {other.path.name} (step {other.step}) is valid: {way} resumes from it") from error


def check_fits(start: Start, engine: Engine, run: dict[str, Any]) -> None:
    """Raises UserError where a checkpoint does not fit this run's network; `run` comes from `describe`."""
    state, expected = start.content["state_dict"], engine.state_dict()
    # Some buffers of objectives are empty until the data give their size, some networks wait for the teacher.
    expected = {name: value if value.numel() else state.get(name, value) for name, value in expected.items()}
    awaited = [
        name for place, part in engine.named_modules() if isinstance(part, Objective) for name in part.awaited(f"{place}.")
    ]
    state = {name: value for name, value in state.items() if not name.startswith(tuple(awaited))}
    wrong = mismatch(state, expected)
    if wrong:
        raise UserError(f"{start.path} holds {_parts(_run_info(start.content))}, this run trains {_parts(run)}: {wrong}")


def check_same(start: Start, run: dict[str, Any], *, engine: Engine, allow_changes: bool) -> list[str]:
    """The changes that the run has been through once it is resumed; warns of other versions.

    Raises UserError where a checkpoint was written by a run of another configuration.
    """
    was = _run_info(start.content)
    if was is None:
        _tell(f"{start.path} does not say what it was trained with: its options could not be compared")
        return []
    for package, version in run["versions"].items():
        if was["versions"].get(package) != version:
            _tell(
                f"{start.path} was written with {package} {was['versions'].get(package)}, this is {version}: bits may differ"
            )
    if longer := _longer(was, run):
        _check_length(start, longer[0], engine)
        if engine.training_block.schedule == "multistep":
            _tell(f"{longer[0]}: the learning rate falls after as many steps as it was to fall before")
    changed = [change.replace("init_args.", "") for change in changes(was, run)]  # as options name them
    changed += other_images(was, run)
    _check_held(start, changed)
    if changed and not allow_changes:
        raise UserError(
            f"{start.path} is of another run: {', '.join(changed)}; --allow_changes true resumes nevertheless, "
            "--out DIR starts anew"
        )
    if changed:
        _tell(f"resuming with changes: {', '.join(changed)}")
    earlier = was["config"].get(RESUMED_WITH)
    return [*(earlier if isinstance(earlier, list) else []), *changed, *_longer(was, run)]


def _check_held(start: Start, changed: list[str]) -> None:
    """Raises UserError for a change that would be told and not come true: the optimiser goes on as the checkpoint has it."""
    held = [change for change in changed if re.match(rf"model\.({HELD})", change)]
    if held:
        raise UserError(
            f"{start.path} is of another run: {', '.join(held)}; optimiser and schedule go on as the checkpoint holds them: "
            f"expected the same, or --init {start.path} --out DIR, which starts anew with its weights"
        )


def changes(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two runs, as `dotted.name: was -> is`; a run may be made longer."""
    both = [name for name in ("processes", "precision") if name in was]
    before, after = (dict(_flat({**run["config"], **{name: run[name] for name in both}})) for run in (was, now))
    may = (*MAY_CHANGE, RESUMED_WITH, *(change.partition(":")[0] for change in _longer(was, now)))
    return [
        f"{name}: {before.get(name, 'not set')} -> {after.get(name, 'not set')}"
        for name in {**before, **after}
        if before.get(name, "not set") != after.get(name, "not set") and name not in may
    ]


def other_images(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """In words, where a folder holds other training images than that of the first run, whose checkpoint says it."""
    before, after = was.get("images"), now.get("images")
    if not isinstance(before, dict) or not after or before == after:
        return []
    same = " others, or in another order" if before.get("count") == after["count"] else ""
    return [f"images for training and validation: {before.get('count')} -> {after['count']}{same}"]


def _check_length(start: Start, longer: str, engine: Engine) -> None:
    """Raises UserError for a run made longer in which something moves to its end, and would go back."""
    block, weights = engine.training_block, engine.weight_perturbation
    moving = [] if block.schedule == "multistep" else [str(block.schedule)]
    moving += [name for name in ("eps_ramp", "first_steps") if getattr(block, name) is not None]
    hint = "; multistep without eps_ramp and first_steps can be made longer" if moving else ""
    moving += [type(part).__name__ for part in engine.objective.parts() if part.follows_progress]
    moving += ["AWP"] if weights is not None and weights.start > 0 else []
    if moving:
        raise UserError(
            f"{start.path}: {longer}, but {' and '.join(moving)} would go back: expected the same max_epochs{hint}"
        )


def _longer(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """By how much a run was made longer, in the words of `changes`; empty where it was not."""
    epochs = "trainer.max_epochs"
    before, after = (dict(_flat(run["config"])).get(epochs) for run in (was, now))
    grew = isinstance(before, int) and isinstance(after, int) and after > before
    return [f"{epochs}: {before} -> {after}"] if grew else []


def describe(config: dict[str, Any], trainer: pl.Trainer, data: Any) -> dict[str, Any]:
    """The description of a run that its checkpoints hold, in plain values."""
    versions = {"torch": str(torch.__version__), "pytorch_lightning": pl.__version__}
    run = {"config": config, "processes": trainer.world_size, "precision": str(trainer.precision), "versions": versions}
    images = data.image_files.identity if getattr(data, "image_files", None) else None
    return run | ({"images": images} if images else {})


def check_schedule(trainer: pl.Trainer, engine: Engine) -> None:
    """Raises UserError where the learning rate's schedule was made for another number of steps, as of other batches.

    Not of multistep, which may be made longer.
    """
    if engine.training_block.schedule == "multistep":
        return
    for config in trainer.lr_scheduler_configs:
        steps = config.scheduler.total_steps - 1  # type: ignore[union-attr]
        if steps != engine.optimizer_steps:
            raise UserError(
                f"the {engine.training_block.schedule} schedule of the checkpoint ends after {steps} steps, this run has "
                f"{engine.optimizer_steps}: expected the same max_epochs and batch_size, or multistep"
            )


def _tell(line: str) -> None:
    """One line for the user, from one process."""
    if is_first():
        say(f"ard: {line}", error=True)


def _run_info(content: dict[str, Any]) -> dict[str, Any] | None:
    """The description of its run that a checkpoint holds; None where there is none, or it is not one that we write."""
    run = content.get("run")
    whole = isinstance(run, dict) and isinstance(run.get("versions"), dict) and isinstance(run.get("config"), dict)
    return run if whole else None


def _parts(run: dict[str, Any] | None) -> str:
    """The network and the objective of a run, by name."""
    if run is None:
        return "an unknown network"
    names = dict(_flat(run["config"]))
    parts = [names.get(f"model.init_args.{part}.class_path") for part in ("student", "objective")]
    return " with ".join(str(part).rpartition(".")[2] for part in parts)


def _flat(tree: Any, name: str = "") -> Any:
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, tree
