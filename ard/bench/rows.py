"""What is measured: the released steps, and ours with one lever after another."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ard.attacks import PGD, Attack, Linf, Radius, attacking
from ard.bench import released
from ard.models import MobileNetV2, ResNet
from ard.objectives.ard import ARD
from ard.objectives.base import Objective
from ard.objectives.rslad import RSLAD
from ard.randomness import keyed_generator

THREAT = Linf(eps=Radius("8/255"))
STUDENTS: dict[str, Callable[[], nn.Module]] = {
    "MobileNetV2": lambda: MobileNetV2(num_classes=10),
    "ResNet-18": lambda: ResNet(num_classes=10),
}
METHODS: dict[str, Callable[[], Objective]] = {
    "ARD": lambda: ARD(mean_over_classes=True),
    "RSLAD": lambda: RSLAD(mean_over_classes=True),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to take the training step; `lever` says what it has that the row before lacks."""

    method: Literal["ARD", "RSLAD"]
    student: Literal["MobileNetV2", "ResNet-18"]
    lever: str
    released: bool = False
    channels_last: bool = True
    attack_mode: Literal["eval", "train"] = "eval"
    bfloat16: bool = False
    attack: Literal["ours", "torchattacks"] = "ours"

    @property
    def group(self) -> str:
        return f"{self.method}, {self.student}"

    @property
    def name(self) -> str:
        return f"{self.group}: {self.lever}"

    @property
    def same_mathematics(self) -> bool:
        """In exact arithmetic the released step and this one compute the same (BatchNorm statistics aside)."""
        return (
            self.attack == "ours" and self.attack_mode == ("train" if self.method == "ARD" else "eval") and not self.bfloat16
        )


def every_row() -> list[Row]:
    """Every row of the table, the released step first in each group."""
    table = []
    for student in STUDENTS:
        ard = Row(method="ARD", student=student, lever="released", released=True, channels_last=False, attack_mode="train")  # type: ignore[arg-type]
        lean = replace(ard, released=False, lever="no unused forward")
        last = replace(lean, channels_last=True, lever="+ channels_last (the same mathematics)")
        fold = replace(last, attack_mode="eval", lever="+ attack in eval mode, BatchNorm folded")
        half = replace(fold, bfloat16=True, lever="+ bfloat16 autocast")
        foreign = replace(fold, attack="torchattacks", lever="torchattacks.PGD, float32")
        rslad = replace(ard, method="RSLAD", attack_mode="eval")
        ours = replace(rslad, released=False, channels_last=True, lever="channels_last, folded (the same mathematics)")
        table += [ard, lean, last, fold, half, foreign]
        table += [rslad, ours, replace(ours, bfloat16=True, lever="+ bfloat16 autocast")]
    return table


class Step:
    """A row made real: call it with a batch number and it takes one training step on random images."""

    def __init__(
        self, row: Row, *, batch_size: int, steps: int, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> None:
        self.row, self.batch_size, self.steps, self.device, self.dtype = row, batch_size, steps, device, dtype
        layout = torch.channels_last if row.channels_last else torch.contiguous_format
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            teacher, student = STUDENTS["ResNet-18"](), STUDENTS[row.student]()
        self.student = student.to(device, dtype, memory_format=layout)  # type: ignore[call-overload]
        self.teacher = teacher.to(device, dtype, memory_format=layout).eval().requires_grad_(False)  # type: ignore[call-overload]
        self.optimizer = torch.optim.SGD(self.student.parameters(), lr=0.01, momentum=0.9, weight_decay=2e-4)
        self.objective = METHODS[row.method]()
        step = {"ARD": released.ard_step, "RSLAD": released.rslad_step}[row.method]
        self.released = step(self.student, self.teacher, self.optimizer, steps) if row.released else None
        relative = released.STEP_SIZE / released.EPS
        self.attack: Attack = PGD(THREAT, steps=steps, relative_step=relative, start="zero")

    def __call__(self, turn: int) -> tuple[Tensor, Tensor]:
        generator = keyed_generator(self.device, "bench", turn)
        x = torch.rand(self.batch_size, 3, 32, 32, generator=generator, device=self.device).to(self.dtype)
        y = torch.randint(10, (self.batch_size,), generator=generator, device=self.device)
        start = THREAT.project(x + THREAT.uniform(x, generator), x) - x
        return self.released(x, y, start) if self.released else self._ours(x, y, start)

    def _ours(self, x: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """What ard.Distillation does in a step."""
        if self.row.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        self.student.train()
        with torch.autocast(self.device.type, torch.bfloat16) if self.row.bfloat16 else nullcontext():
            with attacking(self.student, self.objective, mode=self.row.attack_mode):
                inner, outer = self.objective(self.student, self.teacher, x, y)
                x_adv = self._climb(inner, x, y, start)
            loss = torch.stack(list(outer(x_adv).values())).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach(), x_adv

    def _climb(self, inner: Any, x: Tensor, y: Tensor, start: Tensor) -> Tensor:
        if self.row.attack == "torchattacks":
            import torchattacks

            attack = torchattacks.PGD(self.student, eps=THREAT.eps, alpha=released.STEP_SIZE, steps=self.steps)
            with torch.enable_grad():
                return attack(x, y)
        return _From(self.attack, start)(inner, x)


class _From:
    """The attack from a start both sides agree on; projection is around x, as in training."""

    def __init__(self, attack: Attack, start: Tensor) -> None:
        self.attack, self.start = attack, start

    def __call__(self, loss: Any, x: Tensor) -> Tensor:
        attack = self.attack
        attack._start = lambda x, _: x + self.start  # type: ignore[attr-defined]
        return attack(loss, x, torch.Generator(x.device))
