"""A row made real: the training step it describes, on random images."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ard.attacks import NFGSM, PGD, Linf, Radius, attacking
from ard.bench import released
from ard.bench.levers import BenchRow
from ard.core.randomness import keyed_generator
from ard.data.augmentation import random_crop, random_flip
from ard.losses import AttackLoss, Loss
from ard.models import MobileNetV2, ResNet, WideResNet
from ard.objectives.ard import ARD
from ard.objectives.base import Objective, Outer, total_loss
from ard.objectives.rslad import RSLAD

THREAT = Linf(eps=Radius("8/255"))
REPLAYS = 8
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MobileNetV2": lambda: MobileNetV2(num_classes=10),
    "ResNet-18": lambda: ResNet(num_classes=10),
    "WRN-34-10": lambda: WideResNet(num_classes=10, depth=34, widen=10),
}
METHODS: dict[str, Callable[[], Objective]] = {
    "ARD": lambda: ARD(mean_over_classes=True),
    "RSLAD": lambda: RSLAD(mean_over_classes=True),
}


class Watch(AbstractContextManager):
    """Adds up the seconds spent inside, by the clock that the whole step is timed with."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, 0.0

    def now(self) -> float:
        """Wall seconds on CUDA; on a CPU process seconds, which other jobs on the machine disturb least."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def __enter__(self) -> None:
        self.start = self.now()

    def __exit__(self, *_: object) -> None:
        self.seconds += self.now() - self.start


class TimedStep:
    """Call it with a batch number and it takes one training step: images through augmentation, attack, outer, optimiser."""

    def __init__(
        self, row: BenchRow, *, batch_size: int, steps: int, device: torch.device, dtype: torch.dtype = torch.float32
    ):
        self.row, self.batch_size, self.device, self.dtype = row, batch_size, device, dtype
        layout = torch.channels_last if row.channels_last else torch.contiguous_format
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            teacher, student = NETWORKS[row.teacher](), NETWORKS[row.student]()
        self.student = student.to(device, dtype, memory_format=layout)  # type: ignore[call-overload]
        self.teacher = teacher.to(device, dtype, memory_format=layout).eval().requires_grad_(False)  # type: ignore[call-overload]
        parameters = self.student.parameters()
        self.optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=2e-4, fused=row.fused)
        self.objective, self.watch = METHODS[row.method](), Watch(device)
        step = {"ARD": released.ard_step, "RSLAD": released.rslad_step}[row.method]
        self.released = step(self.student, self.teacher, self.optimizer, steps, self.watch) if row.released else None
        self.attack = PGD(THREAT, steps=steps, relative_step=released.STEP_SIZE / released.EPS, start="zero")
        self.compiled = torch.compile(self.student) if row.compiled else self.student
        self.table = torch.ones(50_000, 81 * 2, 10, dtype=torch.float16) if row.teacher_in == "cache" else torch.empty(0)
        self.delta: Tensor | None = None
        self.attacked = False

    @property
    def count(self) -> int:
        """Passes over the batch in one call: replays count as epochs do, one each."""
        return REPLAYS if self.row.attack == "replays" else 1

    def __call__(self, turn: int) -> tuple[Tensor, Tensor]:
        """The loss and the attacked images."""
        generator = keyed_generator(self.device, "bench", turn)
        images = torch.randint(256, (self.batch_size, 3, 32, 32), generator=generator, device=self.device, dtype=torch.uint8)
        y = torch.randint(10, (self.batch_size,), generator=generator, device=self.device)
        if self.row.released:
            x = released.pil_images(images.cpu()).to(self.device)
        else:
            x = random_flip(random_crop(images.float() / 255, 4, generator), generator)
        return self.descend(x.to(self.dtype), y, turn)

    def descend(self, x: Tensor, y: Tensor, turn: int) -> tuple[Tensor, Tensor]:
        """The step from images on; the attack starts where `turn` says."""
        start = THREAT.project(x + THREAT.uniform(x, keyed_generator(self.device, "start", turn)), x) - x
        return self.released(x, y, start) if self.released else self._ours(x, y, start)

    def _ours(self, x: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """What ard.Distillation, or for replays ard.FreeDistillation, does in a step."""
        if self.row.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        self.student.train()
        with torch.autocast(self.device.type, torch.bfloat16) if self.row.bfloat16 else nullcontext():
            self.attacked = True
            with attacking(self.student, self.objective, mode=self.row.attack_mode):
                inner, outer = self.objective(self._answers, self._speaks, x, y)
                if self.row.attack in ("PGD", "NFGSM"):
                    with self.watch:
                        x_adv = self._climbed(inner, x, start)
            if self.row.attack == "torchattacks":  # as its users call it: it changes modes by itself
                with self.watch:
                    x_adv = self._attacked_by_torchattacks(x, y)
            self.attacked = False
            if self.row.attack == "replays":
                return self._replayed(outer, x)
            loss = total_loss(outer(x_adv))
        self._update(loss)
        return loss.detach(), x_adv

    def _answers(self, x: Tensor) -> Tensor:
        return self.student(x) if self.attacked else self.compiled(x)

    def _speaks(self, x: Tensor) -> Tensor:
        """The teacher's logits: from the student's precision, from float32, or from a table."""
        if self.row.teacher_in == "cache":
            images, views = torch.randint(50_000, (len(x),)), torch.randint(81 * 2, (len(x),))
            return self.table[images, views].to(x.device, torch.float32)
        exact = self.row.teacher_in == "float32"
        with torch.autocast(self.device.type, enabled=False) if exact else nullcontext():
            return self.teacher(x)

    def _attacked_by_torchattacks(self, x: Tensor, y: Tensor) -> Tensor:
        import torchattacks

        attack = torchattacks.PGD(self.student, eps=THREAT.eps, alpha=released.STEP_SIZE, steps=self.attack.steps)
        return attack(x, y)

    def _climbed(self, inner: Loss | None, x: Tensor, start: Tensor) -> Tensor:
        assert inner is not None
        generator = keyed_generator(self.device, "noise")
        if self.row.attack == "NFGSM":
            return NFGSM(THREAT)(inner, x, generator)
        return self.attack(AttackLoss.of(inner, start=x + start), x, generator)  # one start for both sides

    def _replayed(self, outer: Outer, x: Tensor) -> tuple[Tensor, Tensor]:
        delta = torch.zeros_like(x) if self.delta is None else self.delta
        for _ in range(REPLAYS):
            x_adv = THREAT.project(x + delta, x).requires_grad_()
            loss = total_loss(outer(x_adv))
            self._update(loss)
            delta = THREAT.shrink(delta + THREAT.eps * THREAT.steepest(x_adv.grad))  # type: ignore[arg-type]
        self.delta = delta
        return loss.detach(), x_adv.detach()

    def _update(self, loss: Any) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
