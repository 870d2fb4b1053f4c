"""ard.report.evidence_card: a page that says what the record says, and shows no robust number that failed a check."""

import re
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest
from small_records import attack, check, full_record, unreliable
from study_tables import ROOT
from study_tables import stored as read_once

from ard.artifacts.check_names import CHECK_NAMES
from ard.artifacts.record import Record
from ard.artifacts.typed_json import written
from ard.report.evidence_card import evidence_card

RESULTS = ROOT / "docs/results"
RECORDS = sorted(RESULTS.rglob("*evaluation.json"))
assert len(RECORDS) >= 288
EXPLAINED = (
    "UNRELIABLE (O6 Square beats gradients: more steps do not hurt; "
    "O10 robust without a bound: random search beats the gradient)"
)
ONE = (attack("PGD-20", 0.5317, 8534),)
ROBUST = ["53.2", "53.4", "56.7", "55.5", "53.5", "21.2", "77.2", "31.3", "75.0", "75.1"]  # of full_record, in percent


def cell_rows(card: str) -> dict[str, list[str]]:
    """The rows of all tables by their first cell."""
    lines = [line for line in card.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in rows}


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n")[1].split("\n## ")[0]


def test_accuracies_have_the_intervals_of_scipy() -> None:
    rows = cell_rows(evidence_card(full_record()))
    for name, right, shown in (("clean", 8534, "85.3"), ("robust: right after every attack, image by image", 5317, "53.2")):
        interval = binomtest(right, 10000).proportion_ci(0.95, method="wilson")
        assert rows[name] == [shown, f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"]


@pytest.mark.parametrize(
    ("threat", "words"),
    [
        ({"norm": "Linf", "eps": 8 / 255}, "every pixel value by up to 8/255 (Linf)"),
        ({"norm": "L2", "eps": 0.5}, "by up to 0.5 in the Euclidean norm (L2)"),
        ({"norm": "L1", "eps": 12.0}, "by up to 12 in the norm L1"),
    ],
)
def test_the_threat_in_words(threat: dict[str, Any], words: str) -> None:
    head = evidence_card(full_record(threat=threat)).split("| Accuracy")[0]
    assert head.startswith("# WideResNet-34-20 on CIFAR-10\n")
    assert words in head
    assert "White box" in head
    assert "[0, 1]" in head
    assert "10,000 of the test split" in head


def test_a_limited_evaluation_says_so() -> None:
    assert "limit" not in evidence_card(full_record()).split("## Limits")[0]
    assert "evenly over the classes by a limit of 2,000" in evidence_card(full_record(limit=2000, n=2000))


def test_each_attack_with_the_images_it_saw() -> None:
    card = evidence_card(full_record())
    rows = cell_rows(card)
    assert rows["PGD-20"] == ["steps 20, step_size 2/255", "8,534", "–", "56.7"]
    assert rows["APGD-T"] == ["steps 20", "5,553", "APGD-CE", "53.5"]
    assert rows["PGD-20 at 2 eps"][-1] == "21.2"
    assert "gaussian noise" in section(card, "Probes")
    assert "gaussian noise" not in section(card, "Attacks")
    assert "cumulative" in section(card, "Attacks")
    assert "cumulative" not in evidence_card(full_record(autoattack_acc=None, attacks=ONE))


def test_overestimation_is_pgd_minus_autoattack() -> None:
    card = evidence_card(full_record())
    assert "**AutoAttack** (standard) leaves 53.4 % (52.4 to 54.4)" in card
    assert "PGD-20 alone overestimates robustness by +3.3 points" in card  # 56.71 − 53.42
    whole = attack("Square", 0.5771, 8534, group="AutoAttack")
    above = full_record(attacks=(attack("PGD-20", 0.5671, 8534), whole), autoattack_acc=0.5771)
    assert "overestimates robustness by −1.0 points" in evidence_card(above)
    unknown = full_record(attacks=(attack("FGSM", 0.6, 8534), whole), autoattack_acc=0.5771)
    assert "overestimates" not in evidence_card(unknown)


def test_an_autoattack_that_did_not_run_whole_is_named_among_the_limits() -> None:
    partly = evidence_card(full_record(autoattack_acc=None))
    never = evidence_card(full_record(autoattack_acc=None, attacks=ONE))
    assert "AutoAttack did not run whole:" in section(partly, "Limits")
    assert "AutoAttack did not run:" in section(never, "Limits")
    for card in (partly, never):
        assert "overestimates" not in card
        assert "**AutoAttack**" not in card
    assert "did not run" not in evidence_card(full_record())


def test_an_unreliable_record_shows_no_robust_number() -> None:
    assert all(number in evidence_card(full_record()) for number in ROBUST if number not in ("75.0", "75.1"))
    card = evidence_card(unreliable())
    assert not [number for number in ROBUST if number in card]
    robust = cell_rows(card)["robust: right after every attack, image by image"]
    assert robust == [EXPLAINED, "–"]
    assert cell_rows(card)["clean"][0] == "85.3"
    assert cell_rows(card)["cat"] == ["5,000", "74.1", "UNRELIABLE (O6, O10)"]
    assert "interval of the clean accuracy is 1.4 points wide" in section(card, "Limits")


def test_an_unreliable_record_that_names_no_check_shows_none_either() -> None:
    card = evidence_card(unreliable(checks=()))
    assert not [number for number in ROBUST if number in card]
    assert cell_rows(card)["robust: right after every attack, image by image"][0] == "UNRELIABLE (no check named)"
    assert "interval of the clean accuracy" in card


def test_checks_that_did_not_pass_stand_with_their_reasons() -> None:
    shown = section(evidence_card(full_record()), "Checks")
    assert "Verdict: sound. Looked for and not found: V1 perturbation outside the ball." in shown
    assert cell_rows(shown)["O9 accuracy rises with the radius"] == ["skipped", "–", "–", "no curve \\| asked for"]
    assert "the largest perturbation" not in shown
    warned = cell_rows(evidence_card(full_record(checks=(check("O3", "warn", 0.25, 0.1),))))
    assert warned["O3 too few restarts"] == ["warn", "0.25", "0.1", "why"]


def test_where_it_comes_from() -> None:
    shown = section(evidence_card(full_record()), "Where it comes from")
    lines = dict(line.removeprefix("- ").split(": ", 1) for line in shown.strip().splitlines())
    assert lines["Checkpoint"] == "selected by val/robust_acc; epoch 38, counted from 0, of 40."
    assert lines["Teacher"] == f"sha256 {'f' * 64}."
    assert lines["Weights"].startswith(f"sha256 {'a' * 64}")
    assert lines["Config digest"] == "d265fe90f2521d87."
    assert (lines["Training seed"], lines["Suite"]) == ("3.", "full, seed 7.")
    assert lines["Versions"] == "ard 0.1.0, torch 2.15.0."
    assert lines["Commit"] == "7e6989e6cabf."
    assert lines["Time"] == "12 s, 33.1 images/s."


def test_what_is_not_known_is_said_to_be_unknown() -> None:
    shown = section(evidence_card(full_record(training=None, teacher=None, recipe=None)), "Where it comes from")
    assert "Checkpoint: not known." in shown
    assert "Teacher: not known." in shown
    assert "Teacher: none." in evidence_card(full_record(teacher=None))
    for value, words in ((True, "used"), (False, "none"), (None, "not said")):
        assert f"Additional data: {words}." in evidence_card(full_record(additional_data=value))


def test_limits_are_always_there() -> None:
    shown = section(evidence_card(full_record()), "Limits")
    assert "upper bound on robustness, never a proof" in shown
    assert "one training run" in shown
    assert "With 10,000 images the interval of the robust accuracy is 2.0 points wide" in shown
    assert "outside Linf 8/255" in shown
    assert "3 classes: the targeted parts of AutoAttack are left out" in shown


def are_whole(card: str) -> bool:
    """Every line of a table has as many cells as its head."""
    blocks = re.findall(r"(?:^\|.*\n)+", card + "\n", re.MULTILINE)
    return all(len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1 for block in blocks)


def test_every_section_has_whole_tables() -> None:
    assert are_whole(evidence_card(full_record()))
    assert not are_whole("| a | b |\n| c |\n")


@pytest.fixture(scope="module", params=sorted({path.relative_to(RESULTS).parts[0] for path in RECORDS}))
def stored(request: pytest.FixtureRequest) -> dict[Path, Record]:
    """All records of a study that are published; the tables of test_readme.py are of the same, read once for both."""
    return {path: read_once(path).record for path in RECORDS if path.relative_to(RESULTS).parts[0] == request.param}


def test_every_stored_record_is_written_back_to_the_byte(stored: dict[Path, Record]) -> None:
    for path, record in stored.items():
        assert written(record, record.schema) == path.read_text(), path
        assert {check.id for check in record.checks} <= set(CHECK_NAMES)


def test_every_stored_record_says_which_run_or_weights_it_is_of(stored: dict[Path, Record]) -> None:
    for path, record in stored.items():
        if record.run is None:  # weights that nobody trained since: they say of which they were made
            assert record.pruned is not None
            assert record.pruned.of
            continue
        assert record.training is not None
        assert record.run.seed == record.training.seed
        assert (record.run.checkpoint == "last") == record.training.of_last_epoch == (path.name != "evaluation.json")


def test_every_stored_record_makes_a_card_of_whole_tables(stored: dict[Path, Record]) -> None:
    for path, record in stored.items():
        card = evidence_card(record)
        assert are_whole(card), path
        assert "None" not in card, path
        known = {None: "not said", False: "none", True: "used"}  # records of older weights do not say
        assert f"Additional data: {known[record.additional_data]}." in card, path
        if record.verdict != "unreliable":
            assert ("not recorded" in cell_rows(card)["PGD-20"]) == (record.schema == 1), path  # how many images it saw


def test_every_stored_record_is_shown_by_the_word_of_what_was_measured(stored: dict[Path, Record]) -> None:
    for path, record in stored.items():
        if record.word != record.verdict:
            assert (record.suite, record.verdict, record.word) == ("quick", "sound", "upper bound"), path
        assert (record.suite, record.word) != ("quick", "sound"), path
