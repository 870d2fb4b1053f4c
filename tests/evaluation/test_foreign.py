"""AutoAttack in parts and in blocks against the library's own run of it."""

import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import digits, narrow, trained
from tiny import few_queries, few_steps, generator, images, tiny_net, user_error

from ard.attacks import L2, Linf
from ard.evaluation.cascade import Block, judge_block
from ard.evaluation.evaluation import evaluate_images
from ard.evaluation.library_attacks import PINNED, autoattack

library = pytest.importorskip("pyautoattack")

from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted  # noqa: E402
from pyautoattack.fab_pt import FABAttack_PT  # noqa: E402
from pyautoattack.square import SquareAttack  # noqa: E402

ATTACKS = {"APGD-CE": APGDAttack, "APGD-T": APGDAttack_targeted, "FAB-T": FABAttack_PT, "Square": SquareAttack}

every_part = pytest.mark.parametrize("name", list(ATTACKS))
both_norms = pytest.mark.parametrize("ball", [Linf(eps=0.02), L2(eps=0.1)], ids=lambda ball: ball.norm)


def part(name, ball, classes=10):
    """One of the four, after nobody."""
    return replace(next(a for a in autoattack(ball, classes) if a.name == name), after=())


def judged(adversaries, model, x, y, start=0):
    return judge_block(model, [], x, y, adversaries, seed=0, block=Block(start), keep=lambda _: None)


@pytest.fixture
def brief(monkeypatch):
    few_queries(monkeypatch)
    few_steps(monkeypatch)


@pytest.fixture
def seen(monkeypatch):
    """The settings of every attack of the library at the moment it would have begun, in order; none runs."""
    found = []

    def perturb(self, x, y):  # noqa: ARG001
        plain = {k: v for k, v in vars(self).items() if k != "device" and isinstance(v, str | int | float | None)}
        found.append({"class": type(self).__name__, **plain})
        return x

    for attack in ATTACKS.values():
        monkeypatch.setattr(attack, "perturb", perturb)
    return found


@both_norms
def test_the_settings_are_those_of_the_librarys_own_run(ball, seen):
    model, (x, y) = trained(), digits(20)
    library.AutoAttack(model, norm=ball.norm, eps=ball.eps, seed=0, version="standard").run_standard_evaluation(x, y)
    official, seen[:] = list(seen), []
    judged(autoattack(ball, 10), model, x, y)
    assert [attack["class"] for attack in official] == [attack.__name__ for attack in ATTACKS.values()]
    assert [attack.pop("seed") for attack in official] == [0] * 4
    assert len({attack.pop("seed") for attack in seen}) == 4
    assert seen == official
    assert {"n_iter", "n_restarts", "n_target_classes"} <= set(official[1])
    assert official[3]["n_queries"] == 5000


@every_part
def test_with_the_same_seed_a_part_finds_bit_by_bit_what_the_library_finds(name, monkeypatch):
    few_queries(monkeypatch)
    model, x, ball = tiny_net(1).eval(), images(24), Linf(eps=0.04)
    y = model(x).argmax(dim=1)
    y[0] = (y[0] + 1) % 4
    seed = int(torch.randint(2**31, (), generator=generator(5)))
    reference = library.AutoAttack(model, eps=ball.eps, seed=seed)
    reference.attacks_to_run = [name.lower()]
    reference.apgd_targeted.n_target_classes = reference.fab.n_target_classes = 3  # not 9: there are no more
    with torch.random.fork_rng([]):
        expected, answers = reference.run_standard_evaluation(x, y)
        standing = model(x).argmax(dim=1) == y
        found = part(name, ball, 4)(model, x[standing], y[standing], generator(5))
    model.zero_grad()
    fell = (answers != y)[standing]
    assert 0 < fell.sum() < len(fell)
    assert torch.equal(found[fell], expected[standing][fell])
    assert (model(found).argmax(dim=1) != y[standing]).tolist() == fell.tolist()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.usefixtures("brief")
def test_two_and_three_classes_leave_the_targeted_parts_out_and_the_record_says_so(classes):
    x, y = digits(10)
    record = evaluate_images(narrow(classes), x, y % classes, Linf(eps=0.1), suite="standard")
    ran = [attack.name for attack in record.attacks if attack.group == "AutoAttack"]
    assert ran == ["APGD-CE", "Square"]
    assert record.autoattack_acc is None
    (note,) = record.notes
    assert note.startswith(f"{classes} classes")
    assert all(name in note for name in ("APGD-T", "FAB-T"))


@pytest.mark.parametrize("classes", [4, 5, 12])
@pytest.mark.usefixtures("brief")
def test_targets_are_nine_or_all_other_classes(classes, monkeypatch):
    """Every image, wherever it stands, is pulled towards each of the others once."""
    pulled = {kind: [] for kind in (APGDAttack_targeted, FABAttack_PT)}
    losses = {APGDAttack_targeted: "dlr_loss_targeted", FABAttack_PT: "get_diff_logits_grads_batch_targeted"}
    for kind, loss in losses.items():
        whole = getattr(kind, loss)

        def spy(self, x, y, *target, whole=whole, told=pulled[kind]):
            told.append(target[0].tolist() if target else self.y_target.tolist())
            return whole(self, x, y, *target)

        monkeypatch.setattr(kind, loss, spy)
    model, x = tiny_net(1, classes=classes).eval(), images(1)
    y = model(x).argmax(dim=1)
    block = judged([part(name, Linf(eps=1e-4), classes) for name in ("APGD-T", "FAB-T")], model, x, y)
    assert block.worst.all()
    for told in pulled.values():
        chosen = {target for (target,) in told}
        assert len(chosen) == min(9, classes - 1)
        assert y.item() not in chosen


@every_part
@both_norms
@pytest.mark.usefixtures("brief")
def test_one_image(name, ball):
    model, x = tiny_net(1).eval(), images(1)
    y = model(x).argmax(dim=1)
    block = judged([part(name, ball, 4)], model, x, y)
    assert block.facts[name]["attacked"] == 1
    assert block.facts["clean"]["changed"] == 0


def test_every_part_of_every_block_draws_on_its_own(seen):
    model, (x, y) = trained(), digits(10)
    for start in (0, 100, 0):
        judged(autoattack(Linf(eps=0.1), 10), model, x, y, start)
    seeds = [attack["seed"] for attack in seen]
    assert len(set(seeds[:8])) == 8
    assert seeds[8:] == seeds[:4]


def test_a_block_in_which_nobody_stands_needs_neither_attack_nor_library(seen, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    model, (x, y) = trained(), digits(10)
    wrong = (model(x).argmax(dim=1) + 1) % 10
    block = judged(autoattack(Linf(eps=0.1), 10), model, x, wrong)
    assert seen == []
    assert not block.worst.any()
    with user_error("pip install --no-deps pyautoattack==0.2.0"):
        judged(autoattack(Linf(eps=0.1), 10), model, x, y)


def test_the_versions_that_are_advised_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert [extras["autoattack"], extras["torchattacks"]] == [[PINNED["pyautoattack"]], [PINNED["torchattacks"]]]
