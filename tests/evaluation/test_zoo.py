"""The zoo tests the evaluator: whatever is broken on purpose is found out, by the checks that are there for it."""

from contextlib import nullcontext

import pytest
import torch
from small_runs import digits
from tiny import user_error
from zoo import BALL, findings, honest, quickly_trained, raised, undefended
from zoo_attacks import ATTACKS
from zoo_models import MODELS

from ard.evaluation import Evaluation, Given
from ard.evaluation.cascade import BLOCK
from ard.evaluation.checks import CHECKS, Evidence
from ard.evaluation.suites import adversaries_of
from ard.evaluation.verdicts import Verdicts

SUBJECTS = MODELS | ATTACKS
FOUND_BELOW = {"V8"}  # by a test of its own


@pytest.mark.parametrize("name", SUBJECTS)
def test_what_is_broken_is_found_out(name, monkeypatch):
    found = raised(SUBJECTS[name], monkeypatch)
    expected = set(SUBJECTS[name].finds.split())
    assert expected <= set(found), f"{expected - set(found)} not among {found}"
    assert expected or not found, f"nothing is broken here: {found}"


def test_every_check_is_raised_by_a_subject():
    """A check that no subject raises may be one that cannot fail."""
    found = {check for subject in SUBJECTS.values() for check in subject.finds.split()}
    assert found | FOUND_BELOW == set(CHECKS)


@pytest.mark.slow
@pytest.mark.parametrize("network", [honest, quickly_trained, undefended])
def test_the_whole_suite_finds_nothing_in_a_sound_evaluation(network):
    given = Given(transfer={"undefended": undefended()}, teacher=quickly_trained(), undefended=undefended())
    evaluation = Evaluation(network(), *digits(200), BALL, suite="full", given=given)
    evaluation.judge()
    assert set(findings(evaluation)) == set()


def test_a_block_judged_twice_is_found_out():
    evaluation = Evaluation(honest(), *digits(2 * BLOCK), BALL)
    evaluation.judge()
    evaluation.blocks[BLOCK] = evaluation.blocks[0]
    assert set(findings(evaluation)) == {"V8"}


def test_blocks_that_miss_images_make_no_record():
    evaluation = Evaluation(honest(), *digits(2 * BLOCK), BALL)
    evaluation.judge()
    block = evaluation.blocks[BLOCK]
    block.correct = {name: bits[:-1] for name, bits in block.correct.items()}
    block.moved, block.x_adv = block.moved[:-1], block.x_adv[:-1]
    with user_error("the stored blocks hold 199 images of 200: delete them and evaluate again"):
        evaluation.record()


@pytest.mark.parametrize("guarded", [True, False])
def test_random_state_that_is_not_put_back_is_found_out(guarded, monkeypatch):
    """The guard puts back what a model draws; without the guard, V7 sees it."""
    if not guarded:
        monkeypatch.setattr(torch.random, "fork_rng", lambda *_: nullcontext())
    found = raised(MODELS["noise at inference"], monkeypatch)
    assert ("V7" in found) is not guarded


@pytest.mark.parametrize(
    ("culprit", "found"),
    [
        ("FGSM", set()),
        ("CW", {"O4"}),
        ("APGD-CE", set()),
        ("APGD-T", {"O5"}),
        ("Square", {"O6"}),
        ("DLR", {"O4"}),
        ("PGD-100 × 10", {"O3"}),
        ("Targeted", {"O5"}),
        ("KL to teacher", set()),
        ("Transfer sibling", {"O8"}),
        ("Noise", {"O7"}),
        ("torchattacks.PGD", set()),
    ],
)
def test_fooled_images_count_for_the_attack_that_fooled_them(culprit, found):
    """Verdicts written by hand: one attack alone fools the model on ten images. Whoever comes later was not shown them."""
    pytest.importorskip("torchattacks")
    given = Given(transfer={"sibling": honest()}, teacher=honest(), attacks=["PGD"])
    adversaries = adversaries_of("full", BALL, 10, given, 64)
    correct = {"clean": torch.ones(100, dtype=torch.bool)}
    for adversary in adversaries:
        correct[adversary.name] = torch.stack([correct[name] for name in ("clean", *adversary.after)]).all(dim=0)
        if adversary.name == culprit:
            correct[adversary.name][:10] = False
    evidence = Evidence(honest(), *digits(100), BALL, Verdicts(correct, []), adversaries, given, 0, 10)
    checks = {name: CHECKS[name].run(evidence).verdict for name in ("O3", "O4", "O5", "O6", "O7", "O8")}
    assert {name for name, verdict in checks.items() if verdict != "pass"} == found
