"""The training step that a row describes, on random images."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ard.attacks import NFGSM, PGD, Linf
from ard.bench import released
from ard.bench.levers import BenchRow
from ard.bench.networks import NetworkNamed, fresh
from ard.core.randomness import keyed_generator
from ard.data.augmentation import random_crop, random_flip
from ard.losses import Loss
from ard.models.average import MovingAverage
from ard.objectives.ard import ARD
from ard.objectives.base import Objective, Step, TrainingLoss
from ard.objectives.returned import total_loss
from ard.objectives.rslad import RSLAD
from ard.training.captured import Graphs
from ard.training.replays import replay, replayed_loss
from ard.training.step import Search, take

THREAT = Linf(eps="8/255")
REPLAYS, AVERAGE = 8, 0.9995
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


class Compiled(nn.Module):
    """A network that runs compiled where it is trained, and uncompiled where it is attacked."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.compiled = network, torch.compile(network)

    def forward(self, x: Tensor) -> Tensor:
        return self.compiled(x) if self.training else self.network(x)


class TimedTeacher(nn.Module):
    """A teacher's logits as a row has them: in the student's precision, in float32, or looked up in a table."""

    def __init__(self, network: nn.Module, how: Literal["as the student", "float32", "cache"]) -> None:
        super().__init__()
        self.network, self.how = network, how
        self.table = torch.ones(50_000, 81 * 2, 10, dtype=torch.float16) if how == "cache" else torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "cache":
            images, views = torch.randint(50_000, (len(x),)), torch.randint(81 * 2, (len(x),))
            return self.table[images, views].to(x.device, torch.float32)
        with torch.autocast(x.device.type, enabled=False) if self.how == "float32" else nullcontext():
            return self.network(x)


class PGDFrom(PGD):
    """PGD whose random start is given, at one place in memory: the same for two sides that are compared."""

    given: Tensor | None = None

    def begin(self, x: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        assert self.given is not None
        return x + self.given

    def start_at(self, start: Tensor) -> None:
        """The next start; a CUDA graph knows its place."""
        self.given = start.clone() if self.given is None else self.given.copy_(start)


class TimedStep:
    """Call it with a batch number and it takes one training step: augmentation, attack, training loss, optimiser.

    Ours has what a run has: weights are averaged, and a loss or gradient that is not finite would end it.
    """

    def __init__(
        self,
        row: BenchRow,
        *,
        batch_size: int,
        steps: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        network: NetworkNamed = fresh,
    ):
        self.row, self.batch_size, self.device, self.dtype = row, batch_size, device, dtype
        layout = torch.channels_last if row.channels_last else torch.contiguous_format
        teacher, student = network(row.teacher), network(row.student)
        self.student = student.to(device, dtype, memory_format=layout)  # type: ignore[call-overload]
        teacher = teacher.to(device, dtype, memory_format=layout).eval().requires_grad_(False)  # type: ignore[call-overload]
        parameters = self.student.parameters()
        self.optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=2e-4, fused=row.fused)
        self.objective, self.watch = METHODS[row.method](), Watch(device)
        step = {"ARD": released.ard_step, "RSLAD": released.rslad_step}[row.method]
        self.released = step(self.student, teacher, self.optimizer, steps, self.watch) if row.released else None
        self.teacher = TimedTeacher(teacher, row.teacher_in)
        self.network = Compiled(self.student) if row.compiled else self.student
        self.attack = PGDFrom(THREAT, steps=steps, relative_step=released.STEP_SIZE / released.EPS)
        self.graphs = Graphs() if row.captured and device.type == "cuda" else None  # as ard.Distillation has it
        self.delta: Tensor | None = None
        self.average = None if row.released else MovingAverage(self.student, AVERAGE)
        self.finite: Tensor | None = None

    @property
    def count(self) -> int:
        """Passes over the batch in one call: replays count as epochs do, one each."""
        return REPLAYS if self.row.attack == "replays" else 1

    def __call__(self, turn: int) -> tuple[Tensor, Tensor]:
        """The loss and the attacked images."""
        generator = keyed_generator(self.device, "bench", turn)
        images = torch.randint(256, (self.batch_size, 3, 32, 32), generator=generator, device=self.device, dtype=torch.uint8)
        y = torch.randint(10, (self.batch_size,), generator=generator, device=self.device)
        if self.row.released and self.device.type == "cpu":
            x = released.pil_images(images)
        elif self.row.released:  # beside a GPU their loaders' processes have the time for it
            x = images.float() / 255
        else:
            x = random_flip(random_crop(images.float() / 255, 4, generator), generator)
        return self.descend(x.to(self.dtype), y, turn)

    def descend(self, x: Tensor, y: Tensor, turn: int) -> tuple[Tensor, Tensor]:
        """The step from images on; the attack starts where `turn` says."""
        start = THREAT.project(x + THREAT.uniform(x, keyed_generator(self.device, "start", turn)), x) - x
        return self.released(x, y, start) if self.released else self._ours(x, y, start)

    def _ours(self, x: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """What ard.Distillation does in a step, or for replays ard.FreeDistillation."""
        if self.row.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        self.network.train()
        step = Step(eps=THREAT.eps)
        parts = self.network, self.teacher, self.objective
        with self._precision():
            if self.row.attack == "replays":
                return self._replayed(replayed_loss(*parts, x, y, step, mode=self.row.attack_mode), x)
            noise = keyed_generator(self.device, "noise")
            self.attack.start_at(start)
            if self.graphs is not None:
                graphs: Any = {"attack_batch": self.graphs}
                if self.row.graphs == "attack and loss":
                    graphs["learn"] = self.graphs.learn
                taken = take(*parts, self.attack, x, y, step, generator=noise, watch=self.watch, **graphs)
            else:
                search = self._torchattacked(x, y) if self.row.attack == "torchattacks" else self._search
                taken = take(*parts, search, x, y, step, generator=noise, mode=self.row.attack_mode)
        self._update(taken.terms)
        return taken.loss.detach(), taken.x_adv

    def _precision(self) -> AbstractContextManager[Any]:
        """As Lightning's plugin does: without a cache of casts, which replays would find stale."""
        if not self.row.bfloat16:
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def _search(self, loss: Loss, x: Tensor, generator: torch.Generator) -> Tensor:
        """The row's attack, timed."""
        with self.watch:
            return (NFGSM(THREAT) if self.row.attack == "NFGSM" else self.attack)(loss, x, generator)

    def _torchattacked(self, x: Tensor, y: Tensor) -> Search:
        """The attack of torchattacks, called as its users call it: it changes modes by itself."""
        import torchattacks

        with self.watch:
            attack = torchattacks.PGD(self.student, eps=THREAT.eps, alpha=released.STEP_SIZE, steps=self.attack.steps)
            x_adv = attack(x, y)
        return lambda *_: x_adv

    def _replayed(self, training_loss: TrainingLoss, x: Tensor) -> tuple[Tensor, Tensor]:
        terms: list[dict[str, Tensor]] = []

        def descend(terms_of_replay: dict[str, Tensor]) -> None:
            terms.append(terms_of_replay)
            self._update(terms_of_replay)

        self.delta = replay(training_loss, x, self.delta, ball=THREAT, count=REPLAYS, descend=descend)
        return total_loss(terms[-1]).detach(), THREAT.project(x + self.delta, x)

    def _update(self, terms: dict[str, Tensor]) -> None:
        self.optimizer.zero_grad()
        loss = total_loss(terms)
        loss.backward()
        self._guard(loss.detach())
        self.optimizer.step()
        assert self.average is not None
        self.average.update_parameters(self.student)

    def _guard(self, loss: Tensor) -> None:
        """As training.callbacks.Finite does: on a GPU the step before is asked, so that nothing waits."""
        norm = get_total_norm([p.grad for p in self.student.parameters() if p.grad is not None])
        finite = torch.stack([loss.isfinite(), norm.isfinite()]).all()
        asked, self.finite = (finite if self.device.type == "cpu" else self.finite), finite
        if asked is not None and not asked:
            raise RuntimeError(f"{self.row.name}: a loss or gradient is not finite")
