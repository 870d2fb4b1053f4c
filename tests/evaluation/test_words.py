"""The word for a number: sound only where AutoAttack ran, in every suite, on every page, and of stored records."""

import json
import re
from dataclasses import replace

import pytest
from small_records import attack, full_record

from ard.artifacts.record import word_of
from ard.artifacts.record_file import read_record, write_record
from ard.artifacts.record_parts import TimeTaken
from ard.attacks import Linf
from ard.commands.evaluate import EXIT_STATUS
from ard.commands.verify import verify_record
from ard.core.files import sha256
from ard.evaluation.checks import overall
from ard.evaluation.suites import SUITES, Given
from ard.report.comparison import compare_records
from ard.report.evidence_card import evidence_card
from ard.report.robustbench import robustbench_entry

pytestmark = pytest.mark.usefixtures("short_attacks")

CHECKS = {"nothing failed": full_record().checks}
CHECKS |= {word: tuple(replace(one, verdict=word) for one in full_record().checks) for word in ("warn", "fail")}
WORDS = {"warn": ("warnings", 3), "fail": ("unreliable", 4)}


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("outcome", CHECKS)
def test_the_word_of_every_suite(suite, outcome, classes):
    adversaries = SUITES[suite](Linf(eps=0.1), classes, Given(), 64)
    ran = [attack(one.name, 0.5, group=one.group or None) for one in adversaries if not one.probe]
    word = word_of(overall(CHECKS[outcome]), ran)
    expected = WORDS.get(outcome, ("upper bound" if suite == "quick" else "sound", 0))
    assert (word, EXIT_STATUS[word]) == expected


def test_a_part_of_autoattack_is_not_autoattack():
    parts = [attack(name, 0.5, group="AutoAttack") for name in ("APGD-CE", "APGD-T", "FAB-T")]
    assert word_of("sound", parts) == "upper bound"
    assert word_of("sound", [*parts, attack("Square", 0.5, group="quick")]) == "upper bound"


def test_no_page_says_sound_without_autoattack(tmp_path):
    """A record as an earlier version wrote it: it stays as it is, and is shown as an upper bound."""
    weights = tmp_path / "student.safetensors"
    weights.write_bytes(b"weights")
    whole = full_record(suite="quick", autoattack_acc=None)
    old = replace(whole, schema=4, attacks=whole.attacks[:1], weights=replace(whole.weights, sha256=sha256(weights)))
    (pgd,) = old.attacks
    bits = {"clean": old.bits["clean"], "PGD-20": old.bits["PGD-20"], "worst": old.bits["PGD-20"]}
    old = replace(old, bits=bits, robust_acc=pgd.accuracy)
    write_record(tmp_path / "evaluation.json", old)
    record = read_record(tmp_path / "evaluation.json")
    shown = [str(record), evidence_card(record), json.dumps(robustbench_entry(record))]
    shown += [verify_record(tmp_path / "evaluation.json", weights), compare_records([tmp_path], tmp_path / "out")]
    shown.append((tmp_path / "out/table.csv").read_text())
    assert record.verdict == "sound"
    for text in shown:
        assert "upper bound" in text
        assert not re.search(r"\bsound\b", text)


@pytest.mark.parametrize(("wall", "line"), [(70, ""), (200, ""), (40, "took 40 s"), (300, "took 5 min 0 s")])
def test_an_estimate_that_was_off_is_said(wall, line):
    surprise = TimeTaken(wall_seconds=wall, cpu_seconds=1, estimated_seconds=120).surprise
    assert surprise.startswith(line)
    assert bool(surprise) == bool(line)
