"""ard.evaluation: what a record says follows from its bits, and nothing that a caller owns is changed by it."""

import base64
import json
import math
import os
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import digits, narrow, trained
from tiny import user_error
from torch import nn

from ard.artifacts.facts import Threat
from ard.artifacts.record_file import read_record, write_record
from ard.attacks import L2, Linf
from ard.core.files import write_whole
from ard.evaluation.evaluation import Evaluation, evaluate_images
from ard.evaluation.measurement import count_macs

pytestmark = pytest.mark.usefixtures("short_attacks")

N = 200
BALL = Linf(eps=0.1)
NAMES = ["FGSM", "PGD-20", "CW", "Targeted", "Squares"]


@pytest.fixture(scope="module")
def record():
    return evaluate_images(trained(), *digits(N), BALL)


def without_times(record):
    attacks = tuple(replace(attack, seconds=0) for attack in record.attacks)
    return replace(record, attacks=attacks, seconds=0, images_per_s=0, time=None)


def bits_of(record, name):
    """Decoded here, without the code that wrote them."""
    return np.unpackbits(np.frombuffer(base64.b64decode(record.bits[name]), np.uint8))[: record.n].astype(bool)


def test_the_worst_case_is_the_and_of_all_verdicts(record):
    verdicts = [bits_of(record, name) for name in ("clean", *NAMES)]
    worst = np.logical_and.reduce(verdicts)
    assert (bits_of(record, "worst") == worst).all()
    assert record.robust_acc == worst.mean()
    assert record.clean_acc == verdicts[0].mean()
    assert [attack.accuracy for attack in record.attacks] == [bits.mean() for bits in verdicts[1:]]
    assert 0.05 < record.robust_acc < record.clean_acc < 1  # else these laws would hold of nothing


@pytest.mark.fault(35)
def test_autocast_around_an_evaluation_stays_outside(record, observed):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = evaluate_images(trained(), *digits(N), BALL)
    assert without_times(found) == without_times(record)
    observed("an evaluation under autocast: the record of float32, bit for bit")


def test_who_is_robust_is_right_on_the_clean_image(record):
    for name in (*NAMES, "worst"):
        assert not (bits_of(record, name) & ~bits_of(record, "clean")).any()


def test_clean_verdicts_are_those_of_the_model_in_eval_mode(record):
    x, y = digits(N)
    assert (bits_of(record, "clean") == (trained()(x).argmax(1) == y).numpy()).all()
    assert evaluate_images(trained().train(), x, y, BALL).bits == record.bits


@pytest.mark.parametrize("kind", [Linf, L2])
def test_at_radius_zero_nobody_is_fooled(kind):
    found = evaluate_images(trained(), *digits(100), kind(eps=0))
    assert {found.bits[name] for name in (*NAMES, "worst")} == {found.bits["clean"]}
    assert not [check for check in found.checks if check.verdict == "fail"]


@pytest.mark.parametrize("count", [100, 150])
def test_a_verdict_does_not_depend_on_the_other_images(record, count):
    """150: the last block is a part of the one before, whose first fifty images share starts only in their order."""
    x, y = digits(N)
    part = evaluate_images(trained(), x[:count], y[:count], BALL)
    for name in ("clean", *NAMES, "worst"):
        assert (bits_of(part, name)[:100] == bits_of(record, name)[:100]).all()


def test_the_same_call_gives_the_same_record_whatever_was_drawn_before(record):
    torch.rand(7)
    again = evaluate_images(trained(), *digits(N), BALL)
    assert without_times(again) == without_times(record)
    other_seed = evaluate_images(trained(), *digits(N), BALL, seed=1)
    assert other_seed.bits["FGSM"] == record.bits["FGSM"]
    assert other_seed.seed == 1


def test_fgsm_is_the_one_of_the_textbook():
    """In float64, where no rounding turns a gradient's sign."""
    model, (x, y) = trained().double(), digits(N)
    x = x.double().requires_grad_()
    nn.functional.cross_entropy(model(x), y, reduction="sum").backward()
    x_adv = (x + 0.1 * x.grad.sign()).clamp(0, 1)
    expected = (model(x_adv).argmax(1) == y) & (model(x).argmax(1) == y)
    found = evaluate_images(model, x.detach(), y, BALL)
    assert (bits_of(found, "FGSM") == expected.numpy()).all()
    assert found.attacks[0].accuracy == expected.double().mean()


def test_the_worst_case_is_no_better_than_any_attack(record):
    assert record.robust_acc <= min(attack.accuracy for attack in record.attacks)


class Fragile(nn.Module):
    """Parts in different modes, a frozen parameter, a gradient, draws from the global generators; may raise."""

    def __init__(self, calls=10**9):
        super().__init__()
        self.net, self.dropout, self.calls = trained().train(), nn.Dropout(0.5), calls
        self.net.norm.eval()
        self.net.head.bias.requires_grad_(False)
        self.net.head.weight.grad = torch.ones_like(self.net.head.weight)

    def forward(self, x):
        self.calls -= 1
        if self.calls < 0:
            raise ZeroDivisionError
        torch.rand(1)
        return self.dropout(self.net(x))


def state_of(model):
    modes = [module.training for module in model.modules()]
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    grads = [None if p.grad is None else p.grad.tolist() for p in model.parameters()]
    tensors = [value.tolist() for value in model.state_dict().values()]
    generators = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    return {"modes": modes, "trainable": trainable, "grads": grads, "tensors": tensors, "generators": generators}


def changed(after, before):
    """The names of what differs."""
    return [key for key in before if after[key] != before[key]]


@pytest.mark.parametrize("calls", [10**9, 0, 5, 30], ids=["whole", "first", "early", "late"])
def test_nothing_of_the_callers_is_changed(calls):
    model = Fragile(calls)
    before = state_of(model)
    if calls < 10**9:
        with pytest.raises(ZeroDivisionError):
            evaluate_images(model, *digits(100), BALL)
    else:
        evaluate_images(model, *digits(100), BALL)
    assert changed(state_of(model), before) == []


def test_what_is_counted(record):
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 10))
    assert count_macs(net, digits(1)[0]) == 64 * 3 * 9 + 192 * 10
    assert record.params == sum(p.numel() for p in trained().parameters())
    p = record.robust_acc
    assert record.stderr == pytest.approx(math.sqrt(p * (1 - p) / N))
    assert record.threat == Threat(norm="Linf", eps=0.1)


def test_classes_sum_to_the_whole():
    names, (x, y) = [f"digit {k}" for k in range(10)], digits(N)
    evaluation, seen = Evaluation(trained(), x, y, BALL, classes=names), []
    evaluation.judge(progress=seen.append)
    found = evaluation.record()
    rows = found.per_class
    assert [row.name for row in rows] == names
    assert [row.n for row in rows] == torch.bincount(y).tolist()
    for key in ("clean_acc", "robust_acc"):
        assert sum(row.n * getattr(row, key) for row in rows) / N == pytest.approx(getattr(found, key))
    assert sum(seen) == pytest.approx(evaluation.passes * N)


@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_work(classes):
    x, y = digits(50)
    found = evaluate_images(narrow(classes), x, y % classes, BALL)
    assert len(found.per_class) == classes
    assert not [check for check in found.checks if check.id[0] in "VM" and check.verdict != "pass"]


def test_a_record_can_be_stored_and_read(record, tmp_path):
    write_record(tmp_path / "evaluation.json", record)
    stored = read_record(tmp_path / "evaluation.json")
    assert stored.digest
    assert replace(stored, digest=record.digest) == record
    json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)


def test_a_file_is_replaced_whole_or_left_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "evaluation.json"
    write_whole(path, "older")
    write_whole(path, b"old")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("evaluation.json", "old")]
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with user_error("evaluation.json: cannot be written .disk full"):
        write_whole(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("evaluation.json", "old")]
