"""The zoo tests the evaluator: whatever is broken on purpose is found out, by the checks that are there for it."""

import re
from contextlib import nullcontext
from copy import deepcopy

import pytest
import torch
from small_runs import digits, less_effort
from tiny import user_error
from zoo import BALL, findings, honest, quickly_trained, raised, undefended
from zoo_attacks import ATTACKS
from zoo_gradients import GRADIENTS
from zoo_honest import KINDS, built, network
from zoo_models import MODELS

from ard.evaluation.blocks import Store
from ard.evaluation.cascade import BLOCK
from ard.evaluation.checks import CHECKS, Evidence
from ard.evaluation.checks.result import by_chance
from ard.evaluation.evaluation import Evaluation
from ard.evaluation.gradient_check import WRONG, gradient_errors
from ard.evaluation.recorded_calls import Copies, called
from ard.evaluation.suites import MORE, Given, adversaries_of, pgd
from ard.evaluation.verdicts import Verdicts
from ard.losses import margin

SUBJECTS = MODELS | ATTACKS | GRADIENTS
OTHERS = quickly_trained, undefended
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
@pytest.mark.parametrize("network", [honest, *(pytest.param(other, marks=pytest.mark.campaign) for other in OTHERS)])
def test_the_whole_suite_finds_nothing_in_a_sound_evaluation(network):
    given = Given(transfer={"undefended": undefended()}, teacher=quickly_trained(), undefended=undefended())
    evaluation = Evaluation(network(), *digits(100), BALL, suite="full", given=given)
    evaluation.judge()
    assert set(findings(evaluation)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_network_of_any_kind_trips_no_check_of_quick(kind):
    evaluation = Evaluation(network(kind), *digits(100), BALL)
    evaluation.judge()
    assert findings(evaluation) == {}
    accuracy = {attack.name: attack.accuracy for attack in evaluation.record().attacks}
    assert accuracy["PGD-20"] <= accuracy["FGSM"] + 0.025  # more steps are no weaker, but for two images


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precise", [True, False], ids=["float64", "float32"])
def test_gradients_of_any_kind_agree_with_differences(kind, precise, monkeypatch):
    """Also where a network does not run in float64."""
    if not precise:
        monkeypatch.setattr(Copies, "in_float64", lambda *_: None)
    model, (x, y) = built(kind).eval(), digits(40)
    errors = gradient_errors(Copies(model), [called(model, x, lambda z: margin(z, y))])
    assert len(errors) == 40
    assert (errors > WRONG).double().mean() <= 0.02


def test_a_network_without_gradients_is_refused_not_robust():
    """Weights and activations of 8 bits, as a quantised model has them."""

    class Quantised(torch.nn.Module):
        def forward(self, x):
            logits = honest()((x * 255).round().to(torch.uint8) / 255)
            return (logits * 16).round().to(torch.int8) / 16

    with user_error("the logits have no gradient with respect to the pixels"):
        Evaluation(Quantised(), *digits(20), BALL)


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated")
@pytest.mark.parametrize("made", ["script", "trace"])
def test_torchscript_is_refused_before_it_is_attacked(made):
    network = torch.jit.script(honest()) if made == "script" else torch.jit.trace(honest(), digits(2)[0])
    for model in (network, torch.nn.Sequential(network)):
        with user_error("the network is TorchScript, whose calls no check can watch: expected an nn.Module of Python"):
            Evaluation(model, *digits(20), BALL)


def test_a_network_that_cannot_be_copied_is_said_not_failed():
    class Single(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = honest()

        def __deepcopy__(self, memo):
            raise TypeError("there is one of me")

        def forward(self, x):
            return self.network(x)

    evaluation = Evaluation(Single(), *digits(40), BALL)
    evaluation.judge()
    checks = {check.id: check for check in evaluation.record().checks}
    assert "the model cannot be copied" in checks["M2"].reason
    assert {check.id for check in checks.values() if check.verdict in ("fail", "warn")} == set()


@pytest.mark.parametrize(("n", "rate", "most"), [(100, 2e-4, 1), (400, 2e-4, 2), (10_000, 2e-4, 8), (50, 0.005, 3)])
def test_what_chance_allows_grows_with_the_images(n, rate, most):
    assert by_chance(n, rate) == most


@pytest.fixture(scope="module")
def two_blocks():
    """An evaluation of two blocks, of whose attacks none need be strong; who damages it takes a copy."""
    with pytest.MonkeyPatch.context() as patch:
        less_effort(patch)
        evaluation = Evaluation(honest(), *digits(2 * BLOCK), BALL)
    evaluation.judge()
    return evaluation


def test_a_block_judged_twice_is_found_out(two_blocks):
    evaluation = deepcopy(two_blocks)
    evaluation.blocks[BLOCK] = evaluation.blocks[0]
    assert "V8" in findings(evaluation)


def test_an_evaluation_that_was_killed_while_it_attacked_again_goes_on(two_blocks, monkeypatch):
    evaluation = deepcopy(two_blocks)
    before, adversaries = evaluation.record(), evaluation.adversaries
    monkeypatch.setattr("ard.evaluation.evaluation.more_effort", lambda *_: [pgd(BALL, 4, name=MORE[0])])
    blocks = [evaluation.blocks[start] for start in (0, BLOCK)]
    judged = Evaluation._judge

    def killed(self, block, progress):
        if block.start:
            raise KeyboardInterrupt
        judged(self, block, progress)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluation, "_judge", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluation._attack_more(blocks)
    blocks[1].whole, evaluation.adversaries = True, adversaries  # as they are for the next process
    assert evaluation.record().standalone == before.standalone
    evaluation._attack_more(blocks)
    assert MORE[0] in evaluation.record().standalone


def test_blocks_that_miss_images_make_no_record(two_blocks, tmp_path):
    evaluation = deepcopy(two_blocks)
    block = evaluation.blocks[BLOCK]
    block.correct = {name: bits[:-1] for name, bits in block.correct.items()}
    block.moved, block.x_adv = block.moved[:-1], block.x_adv[:-1]
    evaluation.store = Store(tmp_path)
    with user_error(f"the blocks in {re.escape(str(tmp_path))} hold 199 images of 200: delete them and evaluate again"):
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
    """Verdicts written by hand: one attack alone fools the model on 20 images. Whoever comes later was not shown them."""
    pytest.importorskip("torchattacks")
    given = Given(transfer={"sibling": honest()}, teacher=honest(), attacks=["PGD"])
    adversaries = adversaries_of("full", BALL, 10, given, 64)
    correct = {"clean": torch.ones(100, dtype=torch.bool)}
    for adversary in adversaries:
        correct[adversary.name] = torch.stack([correct[name] for name in ("clean", *adversary.after)]).all(dim=0)
        if adversary.name == culprit:
            correct[adversary.name][:20] = False
    evidence = Evidence(honest(), *digits(100), BALL, Verdicts(correct, []), adversaries, given, 0, 10)
    checks = {name: CHECKS[name].run(evidence).verdict for name in ("O3", "O4", "O5", "O6", "O7", "O8")}
    assert {name for name, verdict in checks.items() if verdict != "pass"} == found
