"""The cascade over a block, with adversaries whose victims are written down beforehand, against sets of indices."""

from argparse import Namespace
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from ard.attacks import Linf
from ard.evaluation.adversaries import Adversary
from ard.evaluation.cascade import Block, _modes_and_random_states, evaluation_mode, judge_block

N = 12
WRONG = {7, 8}  # on the clean image already


class Bright(nn.Module):
    """Class 1 for images above medium grey, else 0."""

    def forward(self, x):
        height = x.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-height, height], dim=1)


class Flat(nn.Module):
    """Class 0 whatever it sees, always as sure of it."""

    def forward(self, x):
        return torch.eye(2)[0].expand(len(x), 2) + 0 * x.mean()


@dataclass(frozen=True, kw_only=True)
class Scripted(Adversary):
    """Turns its victims bright, and knows them by their grey; keeps who was shown, in `shown`."""

    ball: Linf = Linf(eps=0.5)  # noqa: RUF009
    fells: frozenset
    shown: list = field(default_factory=list)

    def __call__(self, model, x, y, generator):  # noqa: ARG002
        who = [round(1000 * grey) - 100 for grey in x[:, 0, 0, 0].tolist()]
        self.shown.extend(who)
        own = int(self.name[-1]) / 1000
        grey = [0.6 + own if i in self.fells else 0.2 + own for i in who]
        return torch.tensor(grey).view(-1, 1, 1, 1).expand_as(x)

    @property
    def settings(self):
        return {}

    @property
    def passes(self):
        return 1.0


def block_of_images():
    x = (0.1 + torch.arange(N) / 1000).view(N, 1, 1, 1).expand(N, 1, 2, 2).clone()
    return x, torch.tensor([int(i in WRONG) for i in range(N)])


def judged(adversaries, keep=lambda _: None, block=None, model=None):
    block = block or Block(0)
    return judge_block(model or Bright(), [], *block_of_images(), adversaries, seed=0, block=block, keep=keep)


def indices(bits):
    return set(bits.nonzero().flatten().tolist())


def random_plan(seed):
    """Seven adversaries with random victims, each after some of those before it; two are probes, one of them the last."""
    draw, plan = np.random.default_rng(seed), []
    for k in range(7):
        before = [a.name for a in plan if not a.probe and draw.random() < 0.5]
        fells = frozenset(np.flatnonzero(draw.random(N) < 0.25).tolist())
        plan.append(Scripted(name=f"a{k}", fells=fells, probe=k in (2, 6), after=() if k in (2, 6) else tuple(before)))
    return plan


@pytest.mark.parametrize("seed", range(8))
def test_who_is_shown_who_falls_and_what_is_kept(seed):
    plan = random_plan(seed)
    block = judged(plan)
    assert indices(block.correct["clean"]) == set(range(N)) - WRONG
    right = {"clean": set(range(N)) - WRONG}
    for adversary in plan:
        expected = set.intersection(right["clean"], *(right[name] for name in adversary.after))
        assert adversary.shown == sorted(expected)
        assert block.facts[adversary.name]["attacked"] == len(expected)
        right[adversary.name] = expected - adversary.fells
        assert indices(block.correct[adversary.name]) == right[adversary.name]
    worst = set.intersection(*(right[name] for name in right if name not in ("a2", "a6")))
    assert indices(block.worst) == worst
    answers = Bright()(block.x_adv).argmax(dim=1)
    assert indices(answers == block_of_images()[1]) == worst
    first = {i: next(a for a in plan if not a.probe and i in a.shown and i in a.fells) for i in right["clean"] - worst}
    for i, adversary in first.items():
        assert block.x_adv[i, 0, 0, 0] == pytest.approx(0.6 + int(adversary.name[1]) / 1000)


class GivesUp(Scripted):
    """Gives back the image itself, as AutoAttack does where it fails."""

    def __call__(self, model, x, y, generator):  # noqa: ARG002
        return x.clone()


def test_of_an_image_that_withstands_the_closest_attempt_is_kept():
    nobody = {"fells": frozenset()}
    attacks = Scripted(name="a9", **nobody), Scripted(name="a1", **nobody), GivesUp(name="a0", **nobody)
    assert judged(attacks).x_adv[0].unique().tolist() == pytest.approx([0.209])
    assert judged(attacks, model=Flat()).x_adv[0].unique().tolist() == pytest.approx([0.201])  # of equals the last


def test_probes_change_nothing_of_the_worst_case():
    plan = random_plan(0)
    alone, beside = judged([a for a in plan if not a.probe]), judged(random_plan(0))
    assert torch.equal(alone.worst, beside.worst)
    assert torch.equal(alone.x_adv, beside.x_adv)
    assert torch.equal(alone.moved, beside.moved)
    assert {a.name for a in plan if a.probe} <= beside.correct.keys() - alone.correct.keys()


def test_nobody_is_called_when_nobody_stands():
    everyone = Scripted(name="a0", fells=frozenset(range(N)))
    idle = Scripted(name="a1", fells=frozenset({0}), after=("a0",))
    block = judged([everyone, idle])
    assert idle.shown == []
    assert not block.correct["a1"].any()
    assert block.facts["a1"]["attacked"] == 0


@pytest.mark.parametrize("stop", range(1, 9))
def test_a_block_that_was_interrupted_ends_as_if_it_had_not_been(stop):
    """Killed at the stop-th time that it is kept; what was kept before is what a later process finds."""
    whole, told = judged(random_plan(3)), []

    def keep(block):
        told.append(block)
        if len(told) == stop:
            raise KeyboardInterrupt

    block, plan = Block(0), random_plan(3)
    with pytest.raises(KeyboardInterrupt):
        judged(plan, keep, block)
    done = [a.name for a in plan if a.shown]
    rest = random_plan(3)
    judged(rest, block=block)
    assert [a.name for a in rest if a.shown and a.name in done] == []  # nothing is attacked twice
    for name in whole.correct:
        assert torch.equal(block.correct[name], whole.correct[name])
    assert torch.equal(block.x_adv, whole.x_adv)
    assert torch.equal(block.worst, whole.worst)


def test_verdicts_that_change_when_they_are_taken_again_are_counted():
    class Fickle(Bright):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) if self.calls <= 2 else -super().forward(x)

    attack = Scripted(name="a0", fells=frozenset({1}))
    block = judge_block(Fickle(), [], *block_of_images(), [attack], seed=0, block=Block(0), keep=lambda _: None)
    assert block.facts["clean"]["changed"] == N
    assert judged([attack]).facts["clean"]["changed"] == 0


def test_only_random_states_that_are_put_back_count(monkeypatch):
    """Of several GPUs another process or thread may use the others: what they draw is no change of this model."""

    class OnSecondGPU(Bright):
        def parameters(self, recurse=True):  # noqa: ARG002
            return iter([Namespace(is_cuda=True, device=torch.device("cuda", 1))])

    asked = []
    monkeypatch.setattr(
        torch.cuda, "get_rng_state", lambda device: asked.append(device) or torch.zeros(2, dtype=torch.uint8)
    )
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: pytest.fail("all GPUs"))
    _modes_and_random_states([OnSecondGPU(), Bright()])
    assert asked == [1]


def test_convolutions_are_not_chosen_by_the_clock(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with evaluation_mode(Bright()):
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark
