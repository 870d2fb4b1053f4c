"""The evaluation: attacks every block of images, combines the verdicts, and runs the soundness checks."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ard.artifacts.record import Record
from ard.artifacts.record_parts import TimeTaken
from ard.attacks import Ball, ascent
from ard.core.errors import UserError
from ard.core.logits import WritingError, logits_of
from ard.core.pixels import check_labels, check_pixels
from ard.evaluation.adversaries import Adversary, GradientAdversary
from ard.evaluation.blocks import Store
from ard.evaluation.cascade import BLOCK, Block, as_memory_allows, evaluation_mode, judge_block
from ard.evaluation.checks import Evidence
from ard.evaluation.checks.evidence import SAMPLE
from ard.evaluation.checks.state import state_of
from ard.evaluation.eight_bits import check_levels, on_levels
from ard.evaluation.gradient_check import WRONG, gradient_errors
from ard.evaluation.library_attacks import AutoAttackPart
from ard.evaluation.measurement import record_from
from ard.evaluation.recorded_calls import CallRecorder, Copies, replayed
from ard.evaluation.rehearsed import NOTE, SAMPLED, rehearsed
from ard.evaluation.suites import FAR, MORE, Given, adversaries_of, more_effort
from ard.evaluation.verdicts import Verdicts
from ard.losses import attack_labels


class Evaluation:
    """Attacks `model` on images x (n, C, H, W) in [0, 1] with labels y (n,), inside a ball, and returns a record.

    `robust_acc` of the record is the worst case per image over all attacks of the suite. With a `store` it continues what
    was begun there, alone or with others: each `shard` (k, of) judges every of-th block. With `eight_bit` every attack's
    images are brought to levels of 8 bits inside the ball before they are judged. `block_size` images are attacked at once,
    from random starts of their own. With `rehearse` attacks have a few steps: the record says that it measures nothing.
    Raises UserError for a suite or attack that does not exist, an empty set, pixels outside [0, 1], labels outside the
    classes, a model that does not return logits of its pixels.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        ball: Ball,
        *,
        suite: str = "quick",
        seed: int = 0,
        classes: Sequence[str] | None = None,
        given: Given | None = None,
        store: Store | None = None,
        eight_bit: bool = False,
        block_size: int = BLOCK,
        rehearse: bool = False,
    ) -> None:
        self.model, self.x, self.y, self.ball = model, x, y, ball
        self.suite, self.seed, self.classes, self.given = suite, seed, classes, given or Given()
        self.store, self.eight_bit, self.block_size, self.rehearse = store, eight_bit, block_size, rehearse
        self.began, self.cpu_began = time.perf_counter(), _cpu_seconds()
        self.estimated_seconds: float | None = None
        self.remembered, self.untouched = state_of(model), Copies(model)  # before the first call
        if not len(x):
            raise UserError("no images to evaluate; expected at least one")
        check_pixels(x)
        if eight_bit:
            check_levels(x)
        self.num_classes = _class_count(model, x)
        check_labels(y, self.num_classes)
        for other in self.given.models:
            name = "the teacher" if other is self.given.teacher else type(other).__name__
            _check_other(other, x[:2], name, self.num_classes)
        self.adversaries = self._in_length(adversaries_of(suite, ball, self.num_classes, self.given, x[0].numel()))
        self.blocks: dict[int, Block] = {}
        self.notes: tuple[str, ...] = (NOTE,) if rehearse else ()  # of the record
        self.verdicts: Verdicts | None = None

    def _in_length(self, adversaries: list[Adversary]) -> list[Adversary]:
        return [rehearsed(adversary) for adversary in adversaries] if self.rehearse else adversaries

    @property
    def names(self) -> set[str]:
        return {adversary.name for adversary in self.adversaries}

    @property
    def passes(self) -> float:
        """Forward-backward passes for an image that is never misclassified."""
        return sum(adversary.passes for adversary in self.adversaries)

    def seconds_a_pass(self) -> float:
        """Seconds of one forward and backward pass over one block, measured."""
        x, y = self.x[: self.block_size], self.y[: self.block_size]
        with evaluation_mode(self.model):
            ascent(attack_labels(self.model, y), x)
            start = time.perf_counter()
            losses, _ = ascent(attack_labels(self.model, y), x)
            losses.sum().item()  # a GPU has only then computed them
        return time.perf_counter() - start

    def judge(self, shard: tuple[int, int] = (1, 1), progress: Callable[[float], None] = lambda _: None) -> None:
        """Attack the blocks of one shard; `progress` is called with the image-passes done."""
        for start in self._starts(shard):
            self._judge(self._read(start), progress)

    def _starts(self, shard: tuple[int, int] = (1, 1)) -> range:
        """Where the blocks of a shard begin."""
        k, of = shard
        return range(0, len(self.x), self.block_size)[k - 1 :: of]

    def record(self) -> Record | None:
        """The record, or None as long as other shards have not judged all their blocks."""
        blocks = [self._read(start) for start in self._starts()]
        if not all(block.whole for block in blocks):
            return None
        judged = sum(len(block.correct["clean"]) for block in blocks)
        if judged != len(self.y):
            where = f" in {self.store.folder}" if self.store is not None else ""
            raise UserError(f"the blocks{where} hold {judged} images of {len(self.y)}: delete them and evaluate again")
        gap = self._evidence(blocks).gap
        if gap is not None and gap > FAR and "APGD-CE" in self.names and not set(MORE) & self.names:
            self._attack_more(blocks)
        self.verdicts = Verdicts.of(blocks)
        record = record_from(self._evidence(blocks), self.suite, self.classes)
        threat = replace(record.threat, eight_bit=self.eight_bit or None)
        return replace(record, threat=threat, notes=(*record.notes, *self.notes), time=self._time_taken())

    def _evidence(self, blocks: list[Block]) -> Evidence:
        return Evidence(
            self.model,
            self.x,
            self.y,
            self.ball,
            Verdicts.of(blocks),
            self.adversaries,
            self.given,
            self.seed,
            self.num_classes,
            self.untouched,
            self.remembered,
            sample_size=SAMPLED if self.rehearse else SAMPLE,
        )

    def judged_before(self, shard: tuple[int, int] = (1, 1)) -> int:
        """How many blocks of a shard a process before this one has judged, whose word is taken."""
        return sum(self._read(start).whole for start in self._starts(shard) if start not in self.blocks)

    def estimate(self, shard: tuple[int, int] = (1, 1)) -> float:
        """An upper bound on the seconds that a shard still takes: images that are misclassified early cost less."""
        left = [start for start in self._starts(shard) if not self._read(start).whole]
        images = sum(len(self.y[start : start + self.block_size]) for start in left)
        self.estimated_seconds = round(self.passes * self.seconds_a_pass() * images / self.block_size, 2) if left else 0.0
        return self.estimated_seconds

    def _time_taken(self) -> TimeTaken:
        wall, cpu = time.perf_counter() - self.began, _cpu_seconds() - self.cpu_began
        return TimeTaken(wall_seconds=round(wall, 2), cpu_seconds=round(cpu, 2), estimated_seconds=self.estimated_seconds)

    def _judge(self, block: Block, progress: Callable[[float], None]) -> None:
        part = slice(block.start, block.start + self.block_size)
        x, y = self.x[part], self.y[part]
        if block.whole:
            self.blocks[block.start] = block
            progress(self.passes * len(x))
            return
        reported: set[str] = set()
        recorder = CallRecorder()

        def next_one(block: Block) -> None:
            left = (a for a in self.adversaries if a.name not in block.correct)
            recorder.restart(gradients=isinstance(next(left, None), GradientAdversary | AutoAttackPart))

        def keep(block: Block) -> None:
            next_one(block)
            if block.whole:
                self._hear(recorder, block)
            if self.store is not None:
                self.store.write(block)
            new = [a for a in self.adversaries if a.name in block.correct and a.name not in reported]
            reported.update(a.name for a in new)
            progress(sum(a.passes for a in new) * len(x))

        next_one(block)
        with recorder.watching(self.model):
            self.blocks[block.start] = judge_block(
                self.model,
                self.given.models,
                x,
                y,
                self.adversaries,
                seed=self.seed,
                block=block,
                keep=keep,
                finish=on_levels if self.eight_bit else None,
            )

    def _hear(self, recorder: CallRecorder, block: Block) -> None:
        """Hold what the attacks saw against an untouched copy, and note what came out; a block begun elsewhere has more."""
        seen = recorder.seen[:1] if self.rehearse else recorder.seen
        facts, errors = block.facts["clean"], gradient_errors(self.untouched, seen, self.seed)
        facts["answers"] = max(facts.get("answers", 0.0), replayed(self.untouched, seen))
        facts["gradients"] = facts.get("gradients", 0) + len(errors)
        facts["wrong_gradients"] = facts.get("wrong_gradients", 0) + int((errors > WRONG).sum())

    def _attack_more(self, blocks: list[Block]) -> None:
        """PGD-20 is far above AutoAttack: run what may explain it, on every block."""
        self.adversaries = [
            *self.adversaries,
            *self._in_length(more_effort(self.model, self.x, self.ball, self.num_classes, self.adversaries)),
        ]
        for block in blocks:
            block.whole = False
            self._judge(block, lambda _: None)

    def _read(self, start: int) -> Block:
        if start in self.blocks:
            return self.blocks[start]
        block = self.store.read(start) if self.store is not None else Block(start)
        block.whole &= self.names <= block.correct.keys()
        return block.to(self.x.device) if block.fits(self.x[start : start + self.block_size]) else Block(start)


def evaluate_images(model: nn.Module, x: Tensor, y: Tensor, ball: Ball, **options: Any) -> Record:
    """The record of a whole evaluation in memory; see Evaluation."""

    def attempt(block_size: int) -> Record:
        evaluation = Evaluation(model, x, y, ball, block_size=block_size, **options)
        evaluation.judge()
        record = evaluation.record()
        assert record is not None
        return record

    return as_memory_allows(attempt, x)


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _class_count(model: nn.Module, x: Tensor) -> int:
    """The number of classes; raises UserError where the output is not logits, or does not depend on the pixels.

    And for TorchScript, whose calls cannot be watched.
    """
    if any(isinstance(part, torch.jit.ScriptModule) for part in model.modules()):
        raise UserError("the network is TorchScript, whose calls no check can watch: expected an nn.Module of Python")
    with evaluation_mode(model):
        with torch.no_grad():
            logits_of(model, x[:BLOCK].clone(), "the model", refusals=RuntimeError)  # an error of its own goes to the caller
        with torch.enable_grad():
            pixels = x[:2].detach().clone().requires_grad_()
            logits = logits_of(model, pixels, "the model", refusals=RuntimeError)
            reached = logits.requires_grad and _gradient(logits, pixels) is not None
    if not reached:
        raise UserError(
            "the logits have no gradient with respect to the pixels (detached, or under no_grad): "
            "no gradient attack can reach them; expected a model that is differentiable from pixels to logits"
        )
    return int(logits.shape[1])


def _check_other(other: nn.Module, x: Tensor, name: str, num_classes: int) -> None:
    """Raises UserError where a network that attacks call cannot answer, knows other classes, or writes into its images."""
    with evaluation_mode(other):
        with torch.no_grad():
            logits_of(other, x.detach().clone(), name, num_classes)
        try:
            with torch.enable_grad():
                logits_of(other, x.detach().clone().requires_grad_(), name)
        except WritingError:
            raise
        except UserError:  # a teacher may refuse to have a gradient
            pass


def _gradient(logits: Tensor, pixels: Tensor) -> Tensor | None:
    return torch.autograd.grad(logits.sum(), pixels, allow_unused=True)[0]
