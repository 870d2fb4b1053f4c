"""What a run says of itself when it begins."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytorch_lightning as pl
from rich import box
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from torch import nn

from ard.artifacts.paths import record_of
from ard.artifacts.record_file import readable_record
from ard.attacks import Attack
from ard.core.devices import device_name
from ard.core.text import first_few, percent, radius
from ard.data import DataModule
from ard.models.frozen import Frozen
from ard.training.callbacks.about import network_name, run_files, run_name
from ard.training.callbacks.teacher_accuracy import TeacherCheck
from ard.training.engine import Engine

WIDTH = 100  # of the panel, at most: longer lines are hard to read


def panel(trainer: pl.Trainer, engine: Engine, console: Console) -> RenderableType:
    """A box on a terminal, plain lines elsewhere: what is trained on what, against what, for how long, and where it goes."""
    rows = list(facts(trainer, engine))
    if not console.is_terminal:
        wide = max(11, *(len(name) for name, _ in rows)) + 1
        return Text("\n".join(f"{name:<{wide}}" + text.replace("\n", f"\n{'':<{wide}}") for name, text in rows))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(name, Text(text))
    return Panel(table, box=box.ROUNDED, width=min(console.width, WIDTH), title="ard fit", title_align="left")


def facts(trainer: pl.Trainer, engine: Engine) -> Iterator[tuple[str, str]]:
    """Name and text of each row."""
    files, name, kind = run_files(trainer), run_name(trainer), type(engine.objective).__name__
    if files is not None and files.configs:
        yield "configs", ", ".join(files.configs)  # a name may mean a file of one's own, or ours
    yield "method", f"{name.method} ({kind})" if name else kind
    yield "data", _data(engine)
    yield "student", _network(engine.student) + _start(engine)
    for place, teacher in engine.teachers().items():
        yield place.replace("objective.", "").replace("init_args.", "").replace("_", " "), _teacher(trainer, place, teacher)
    yield "threat", f"{engine.threat.norm}, eps {radius(engine.threat.eps)}{_ramp(engine)}"
    if engine.training_block.monitor == "val/robust_acc":  # others are recipes without an attack
        replays = f"{engine.replays} replays of each batch"
        yield "attack", replays if engine.replays else _attack(engine.attack) + _growth(engine)
    yield "validation", f"{_attack(engine.val_attack)}; {engine.training_block.monitor} chooses the epoch"
    yield "epochs", _epochs(trainer, engine)
    device = f"{trainer.world_size} × {device_name(trainer.strategy.root_device)}, {trainer.precision}"
    yield "device", device + _apart(trainer, engine)
    yield "folder", str(trainer.default_root_dir)


def _apart(trainer: pl.Trainer, engine: Engine) -> str:
    """Of how many images BatchNorm takes its statistics where each process has its own."""
    norms = [module for module in engine.student.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if trainer.world_size < 2 or all(isinstance(norm, nn.SyncBatchNorm) for norm in norms):
        return ""
    each = engine.data.batch_size // trainer.world_size
    return f"; BatchNorm of {each} images in each process, --trainer.sync_batchnorm true joins them"


def _data(engine: Engine) -> str:
    data = engine.data
    if not isinstance(data, DataModule):
        count = f"{data.image_count:,}" if data.image_count else "a stream of"
        return f"{count} training images, {engine.num_classes} classes"
    train, val = data.splits
    switches = "".join(f"; {name} {value}" for name, value in data.switches.items())
    if data.image_files is None:
        return (
            f"{data.title}: {len(train):,} training and {len(val):,} validation images, {data.num_classes} classes{switches}"
        )
    counts = f"{len(train):,} training, {len(val):,} validation and {len(data.image_files.test):,} test images"
    return f"{data.title}: {counts}{switches}\n{data.num_classes} classes: {first_few(data.classes)}"


def _network(network: nn.Module) -> str:
    weights = sum(parameter.numel() for parameter in network.parameters())
    return f"{network_name(network)}, {weights:,} weights"


def _start(engine: Engine) -> str:
    """How its start was pruned."""
    pruned = engine.pruned
    return f"; begins pruned ({pruned.words}): {pruned.nonzero:,} not zero, the zeros stay" if pruned else ""


def _teacher(trainer: pl.Trainer, place: str, teacher: Frozen) -> str:
    """Its file, its size, and how good it is: by its record where there is one, else on some validation images."""
    lines = [teacher.weights, *(_network(network) for network in teacher.networks)]
    record = readable_record(record_of(teacher.weights)) if Path(teacher.weights).is_file() else None
    checks = [callback for callback in trainer.callbacks if isinstance(callback, TeacherCheck)]  # type: ignore[attr-defined]
    if record is not None and record.weights.sha256 == teacher.sha256:
        lines.append(f"{percent(record.clean_acc)} clean, {percent(record.robust_acc)} robust on {record.n:,} test images")
    elif checks and (found := checks[0].found.get(place)):
        lines.append(f"{percent(found.share)} clean on {found.n} images")
    return "\n".join(line for line in lines if line)


def _attack(attack: Attack) -> str:
    length = f"{attack.step_size / attack.ball.eps:.2g} eps" if attack.ball.eps else "nothing, as eps is 0"
    return f"{type(attack).__name__}, {attack.steps} step{'s' * (attack.steps != 1)} of {length}"


def _ramp(engine: Engine) -> str:
    """Where the radius begins smaller: in which share of training it grows, and what does not."""
    shares = engine.training_block.eps_ramp
    if shares is None:
        return ""
    if engine.training_block.monitor == "val/clean_acc":
        return "\neps_ramp changes nothing where training attacks nothing"
    start, end = (f"{100 * share:g}" for share in shares)
    return f"\nin training it rises from 0 between {start} % and {end} % of the epochs; validation has all of it"


def _growth(engine: Engine) -> str:
    """With how many steps the attack begins where they grow, and how long each is then."""
    first, attack = engine.training_block.first_steps, engine.attack
    if first is None:
        return ""
    length = f"{attack.shortened(first).step_size / attack.ball.eps:.2g} eps"
    return f"\nin training it begins with {first} of {length} and grows to {attack.steps} over the epochs"


def _epochs(trainer: pl.Trainer, engine: Engine) -> str:
    done, replays = trainer.current_epoch, engine.replays or 1
    batches = f"{engine.epochs} of {trainer.num_training_batches} batches of {engine.data.batch_size} images"
    if math.isinf(trainer.num_training_batches):
        batches = f"of unknown length, {engine.optimizer_steps} steps of {engine.data.batch_size} images in all"
    going_on = f", going on in epoch {done}" if trainer.global_step else ""
    updates = f"\nas many updates as {replays * engine.epochs} without replays" if replays > 1 else ""
    return f"{batches}, counted from 0{going_on}; lr {engine.training_block.lr:g}{updates}"
