"""torchattacks by name, and the guard around every attack that comes from elsewhere."""

import random
from contextlib import nullcontext
from dataclasses import replace
from inspect import signature

import numpy as np
import pytest
import torch
from small_runs import digits, trained
from tiny import few_queries, few_steps, generator, labels, user_error
from torch import nn

from ard.attacks import L2, Linf
from ard.evaluation.cascade import Block, judge_block
from ard.evaluation.evaluation import evaluate_images
from ard.evaluation.library_attacks import AUTOATTACK_PARTS, autoattack, torch_attack
from ard.evaluation.suites import Given

torchattacks = pytest.importorskip("torchattacks")
pytest.importorskip("pyautoattack")

BALLS = {"Linf": Linf(eps=0.03), "L2": L2(eps=0.2)}


def rgb_task(classes=10):
    """A small colour network and images that it gets right."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        body = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()]
        net = nn.Sequential(*body, nn.Flatten(), nn.Linear(256, classes))
        x = torch.rand(5, 3, 8, 8)
        net(torch.rand(32, 3, 8, 8))
    return net.eval(), x, net(x).argmax(dim=1)


def named(name, norm, classes=10):
    """The attack, with fewer queries where there are thousands: Square takes ten seconds with all of them."""
    adversary = torch_attack(name, BALLS[norm], classes)
    fewer = {"n_queries": 50} if "n_queries" in signature(adversary.kind).parameters else {}
    return replace(adversary, options={**adversary.options, **fewer})


def judged(adversary, model, x, y, start=0):
    return judge_block(model, [], x, y, [adversary], seed=0, block=Block(start), keep=lambda _: None)


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("name", torchattacks.__all__)
def test_every_attack_stays_in_the_ball_or_is_refused_in_one_line(name, norm):
    said = getattr(torchattacks, name).__doc__ or ""
    measured = next((line for line in said.splitlines() if "Distance Measure" in line), "")
    if norm not in measured or name == "AutoAttack":
        with user_error(f"torchattacks.{name}"):
            named(name, norm)
        return
    adversary, (model, x, y) = named(name, norm), rgb_task()
    facts = judged(adversary, model, x, y).facts[adversary.name]
    assert facts["attacked"] == len(x)
    assert facts["broken"] == facts["outside"] == 0
    assert facts["distance"] <= BALLS[norm].eps * (1 + 1e-5) + 1e-6
    assert torch.equal(*(adversary(model, x, y, generator(1)) for _ in range(2)))


@pytest.mark.parametrize(("images", "classes"), [("grey", 10), ("colour", 2), ("colour", 3)])
@pytest.mark.parametrize("name", ["TIFGSM", "PIFGSM", "PIFGSMPP", "APGDT", "FAB", "APGD", "Jitter"])
def test_what_an_attack_cannot_do_is_said_in_one_line(name, images, classes):
    model, x, y = (trained(), *digits(5)) if images == "grey" else rgb_task(classes)
    unable = {"grey": ("TIFGSM", "PIFGSM", "PIFGSMPP"), "colour": ("APGDT",)}[images]
    with user_error(f"torchattacks.{name}") if name in unable else nullcontext():
        assert judged(named(name, "Linf", classes), model, x, y).whole


STEPPING = ["BIM", "DIFGSM", "EOTPGD", "FFGSM", "Jitter", "MIFGSM", "NIFGSM", "PGD", "PGDL2", "PGDRS", "PGDRSL2", "RFGSM"]
STEPPING += ["SINIFGSM", "TIFGSM", "TPGD", "UPGD", "VMIFGSM", "VNIFGSM"]


@pytest.mark.parametrize("name", STEPPING)
def test_the_step_keeps_its_ratio_to_the_radius(name):
    kind, ball = getattr(torchattacks, name), L2(eps=0.1) if "L2" in name else Linf(eps=0.1)
    ours, theirs = kind(rgb_task()[0], **torch_attack(name, ball, 10).options), kind(rgb_task()[0])
    assert ours.eps == 0.1 != theirs.eps
    assert ours.alpha / ours.eps == pytest.approx(theirs.alpha / theirs.eps)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("AutoAttack", "10 steps where AutoAttack runs 100.*--suite standard"),
        ("MIFGMS", "no attack 'MIFGMS'; did you mean 'MIFGSM'"),
        ("pgd", "no attack 'pgd'"),
        ("Attack", "no attack 'Attack'"),  # the base class, which the library holds but does not offer
        ("__version__", "no attack"),
        ("PGDL2", "is made for L2; expected an attack in Linf"),
    ],
)
def test_names_that_are_refused(name, said):
    with user_error(said):
        torch_attack(name, Linf(eps=0.1), 10)


def test_pixels_outside_and_perturbations_too_long_make_no_victims():
    class Careless(torchattacks.FGSM):
        def forward(self, images, labels):  # noqa: ARG002
            moved = images.clone()
            moved[0] = 1.5  # no image
            moved[1] = (images[1] + 0.5).clamp(0, 1)  # out of the ball
            moved[2] += 0.01
            moved[3] = torch.nan
            moved[4] += 0.02  # in the ball, but brighter than white
            return moved

    x = torch.full((5, 3, 8, 8), 0.5)
    x[4] = 0.99
    found = replace(named("FGSM", "Linf"), kind=Careless)(rgb_task()[0], x, labels(5), generator())
    assert torch.equal(found[[0, 1, 3]], x[[0, 1, 3]])
    assert torch.equal(found[2], x[2] + 0.01)
    assert torch.equal(found[4], torch.ones(3, 8, 8))


@pytest.mark.parametrize("name", ["PGD", "APGD", "Square"])
def test_another_generator_draws_elsewhere(name):
    """Also where the library would seed itself with 0."""
    (model, x, y), shown = rgb_task(), []
    model.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].detach().clone()))
    paths = []
    for seed in (1, 2, 1):
        shown.clear()
        named(name, "Linf")(model, x, y, generator(seed))
        paths.append(shown[1])
    assert torch.equal(paths[0], paths[2])
    assert not torch.equal(paths[0], paths[1])


def test_an_attack_of_the_same_name_as_ours_is_another_and_runs_once():
    x, y = digits(20)
    record = evaluate_images(trained(), x, y, Linf(eps=0.1), given=Given(attacks=["FGSM", "PGD", "PGD"]))
    foreign = [a for a in record.attacks if a.settings.get("library") == "torchattacks"]
    assert [a.name for a in foreign] == ["torchattacks.FGSM", "torchattacks.PGD"]
    assert [a.name for a in record.attacks][:3] == ["FGSM", "PGD-20", "CW"]
    assert all(a.after[:3] == ("FGSM", "PGD-20", "CW") for a in foreign)


class Fragile(nn.Module):
    """Parts in different modes, a frozen parameter, a gradient, draws of its own; raises at a given call."""

    def __init__(self, raises=-1):
        super().__init__()
        self.net, self.calls, self.raises = trained().train(), 0, raises
        self.net.norm.eval()
        self.net.head.bias.requires_grad_(False)
        self.net.head.weight.grad = torch.ones_like(self.net.head.weight)
        self.kinds = set()

    def forward(self, x):
        self.calls += 1
        self.kinds.add((x.dtype, torch.is_autocast_enabled("cpu"), self.net.head.training))
        if self.calls == self.raises:
            raise ZeroDivisionError
        return self.net(x) + 0 * torch.rand(1)


def state_of(model):
    return {
        "modes": [module.training for module in model.modules()],
        "trainable": [parameter.requires_grad for parameter in model.parameters()],
        "grads": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "tensors": [value.tolist() for value in model.state_dict().values()],
        "generators": [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()],
    }


@pytest.mark.parametrize("raises", [-1, 3, 5])
@pytest.mark.parametrize("name", [*AUTOATTACK_PARTS, "FGSM", "FAB", "APGD"])
def test_everything_comes_back_also_after_an_error_and_autocast_stays_outside(name, raises, monkeypatch):
    few_queries(monkeypatch)
    few_steps(monkeypatch)
    adversary = {a.name: replace(a, after=()) for a in autoattack(Linf(eps=0.1), 10)}.get(name) or named(name, "Linf")
    model, (x, y) = Fragile(raises), digits(5)
    before = state_of(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        try:
            judged(adversary, model, x, y)
        except ZeroDivisionError:
            assert model.calls == raises
    after = state_of(model)
    assert [key for key in before if after[key] != before[key]] == []
    assert model.calls >= (raises if raises > 0 else 4)  # the attack did begin
    assert model.kinds == {(torch.float32, False, False)}
