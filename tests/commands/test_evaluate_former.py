"""`ard evaluate` where a record lies already: what says more is not lost to a quick look, unless that is meant."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from interruptions import lying
from small_runs import CARD, cli, narrow, write_weights

from ard.__main__ import main
from ard.artifacts.record_file import read_record, write_record
from ard.evaluation.evaluation import Evaluation
from ard.evaluation.suites import MORE

pytestmark = pytest.mark.usefixtures("short_attacks")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A folder of weights with the record of 100 images beside them."""
    folder = tmp_path_factory.mktemp("evaluated")
    assert main(["evaluate", str(write_weights(folder / "student.safetensors")), "--limit", "100"]) == 0
    return folder


@pytest.fixture
def weights(evaluated, place):
    """Those weights, for one test to do as it likes."""
    shutil.copytree(evaluated, place, dirs_exist_ok=True)
    return place / "student.safetensors"


def said(weights):
    record = json.loads(weights.with_name("evaluation.json").read_text())
    return record["n"], record["split"], record["threat"]["eps"]


def claim(weights, change):
    """Changes the record as it lies there."""
    path = weights.with_name("evaluation.json")
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("command", "now"),
    [
        ("evaluate --limit 5", "n = 5, Digits test, Linf 0.1, seed 0 would"),
        ("test --limit 5", "n = 5, Digits test, Linf 0.1, seed 0 would"),
        ("evaluate --limit 100 --seed 1", "n = 100, Digits test, Linf 0.1, seed 1 would"),
        ("evaluate --limit 5 --shard 1/2", "n = 5"),
        ("evaluate --limit 100 --eps 4/255", "Linf 4/255, seed 0 would"),
        ("evaluate --limit 100 --norm L2 --eps 1", "L2 1, seed 0 would"),
        ("evaluate --limit 100 --split val", "Digits val"),
    ],
)
def test_what_says_less_or_something_else_is_refused_before_any_attack(command, now, weights, capsys, monkeypatch):
    verb, *options = command.split()
    before, record = lying(weights.parent), weights.with_name("evaluation.json").read_bytes()
    monkeypatch.setattr(Evaluation, "judge", pytest.fail)
    status, out, err = cli(capsys, verb, weights, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "evaluation.json holds suite quick, n = 100, Digits test, Linf 0.1, seed 0; suite quick" in err
    assert now in err
    assert "add --replace" in err
    assert (lying(weights.parent), weights.with_name("evaluation.json").read_bytes()) == (before, record)


@pytest.mark.parametrize("verb", ["evaluate", "test"])
def test_with_replace_it_is_what_was_meant(verb, weights, capsys):
    assert cli(capsys, verb, weights, "--limit", 50, "--replace")[0] == 0
    assert said(weights) == (50, "test", 0.1)


def test_more_images_or_the_same_again_replace_it(weights, capsys):
    assert cli(capsys, "evaluate", weights, "--limit", 120)[0] == 0
    assert said(weights) == (120, "test", 0.1)


@pytest.mark.parametrize("kind", [[], ["--eight-bit"]])
def test_the_images_that_prove_a_record_are_not_deleted_by_the_way(kind, weights, capsys):
    asked = [weights, "--limit", 20, *kind]
    assert cli(capsys, "evaluate", *asked, "--save-adversarial", "--replace")[0] == 0
    kept = "evaluation.adversarial" + (".safetensors" if not kind else "")
    status, _, err = cli(capsys, "evaluate", *asked)
    assert (status, f"({kept} would be lost)" in err) == (2, True)
    assert (weights.parent / kept).exists()
    assert cli(capsys, "evaluate", *asked, "--save-adversarial")[0] == 0
    assert cli(capsys, "evaluate", *asked, "--replace")[0] == 0
    assert not (weights.parent / kept).exists()


def test_a_suite_that_contains_this_one_is_kept_and_one_within_it_replaced(weights, capsys):
    path = weights.with_name("evaluation.json")
    record = read_record(path)
    own = record.attacks[0]
    bits = {"clean": record.bits["clean"], "FGSM": record.bits["FGSM"], "worst": record.bits["FGSM"]}
    record = replace(record, robust_acc=own.accuracy)
    more = {"clean": bits["clean"], "FGSM": bits["FGSM"], "APGD-CE": bits["FGSM"], "worst": bits["worst"]}
    write_record(path, replace(record, suite="standard", attacks=(own, replace(own, name="APGD-CE")), bits=more))
    status, _, err = cli(capsys, "evaluate", weights, "--limit", 200)
    assert (status, "holds suite standard" in err, "(APGD-CE would be lost)" in err) == (2, True, True)
    on_demand = {"clean": bits["clean"], "FGSM": bits["FGSM"], MORE[0]: bits["FGSM"], "worst": bits["worst"]}
    write_record(path, replace(record, attacks=(own, replace(own, name=MORE[0])), bits=on_demand))
    assert cli(capsys, "evaluate", weights, "--limit", 200)[0] == 0, "the suite runs it again where it is needed"
    write_record(path, replace(record, suite="less", attacks=(own,), bits=bits))
    assert cli(capsys, "evaluate", weights, "--limit", 100)[0] == 0


def test_a_record_of_former_weights_or_a_damaged_one_holds_nobody_up(weights, capsys):
    write_weights(weights, narrow())
    assert cli(capsys, "evaluate", weights, "--limit", 20)[0] in (0, 3)
    assert said(weights)[0] == 20
    claim(weights, lambda record: record.update(n=400))
    assert cli(capsys, "evaluate", weights, "--limit", 10)[0] in (0, 3)


def test_the_record_of_weights_that_lie_beside_under_the_same_name_is_kept(weights, capsys, monkeypatch):
    other = weights.with_suffix(".pt")
    torch.save({"state_dict": narrow().state_dict(), "ard": CARD}, other)
    before = weights.with_name("evaluation.json").read_bytes()
    for limit in (5, 100, 200):
        with monkeypatch.context() as patched:
            patched.setattr(Evaluation, "judge", pytest.fail)
            status, out, err = cli(capsys, "evaluate", other, "--limit", limit)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert f"evaluation.json is of {weights}, other weights than those that {other} held" in err
        assert "add --replace" in err
    assert weights.with_name("evaluation.json").read_bytes() == before
    assert cli(capsys, "evaluate", other, "--limit", 10, "--replace")[0] in (0, 3)
    other.unlink()
    assert cli(capsys, "evaluate", weights, "--limit", 5)[0] in (0, 3)
    assert said(weights)[0] == 5


def test_a_bigger_one_that_ends_meanwhile_is_not_replaced_and_no_work_is_lost(place, capsys, monkeypatch):
    weights, judge = write_weights(place / "student.safetensors"), Evaluation.judge

    def overtaken(self, *given):
        judge(self, *given)
        monkeypatch.setattr(Evaluation, "judge", judge)
        assert cli(capsys, "evaluate", weights, "--limit", 100)[0] == 0

    monkeypatch.setattr(Evaluation, "judge", overtaken)
    assert cli(capsys, "evaluate", weights, "--limit", 20)[0] == 2
    assert said(weights)[0] == 100
    monkeypatch.setattr("ard.evaluation.evaluation.judge_block", pytest.fail)
    assert cli(capsys, "evaluate", weights, "--limit", 20, "--replace")[0] == 0
    assert said(weights)[0] == 20
