"""Attacks of a rehearsal: all of a suite, a few steps each, and a record that answers no question."""

from small_records import attack, full_record
from torch import nn

from ard.artifacts.record import word_of
from ard.artifacts.record_parts import CheckResult, GivenFiles
from ard.attacks import Linf
from ard.evaluation.adversaries import GradientAdversary
from ard.evaluation.library_attacks import AutoAttackPart
from ard.evaluation.rehearsed import NOTE, QUERIES, STEPS, rehearsed
from ard.evaluation.request import Request
from ard.evaluation.suites import SUITES, Given


def test_every_attack_of_a_suite_is_there_and_short():
    whole = SUITES["full"](Linf(eps=0.1), 10, Given(teacher=nn.Identity()), 64)
    short = [rehearsed(adversary) for adversary in whole]
    assert [one.name for one in short] == [one.name for one in whole]
    attacks = [one.attack for one in short if isinstance(one, GradientAdversary)]
    assert len(attacks) > 5
    assert all(attack.steps <= STEPS for attack in attacks)
    assert max(one.attack.steps for one in whole if isinstance(one, GradientAdversary)) > STEPS  # not these were changed
    parts = [one.settings for one in short if isinstance(one, AutoAttackPart)]
    assert {(part["steps"], part["queries"]) for part in parts} == {(STEPS, QUERIES)}


def test_nothing_is_sound_after_an_autoattack_of_a_few_steps():
    parts = [attack(one.name, 0.5, group="AutoAttack", settings=one.settings) for one in autoattack_parts()]
    assert word_of("sound", parts) == "sound"
    short = [attack(one.name, 0.5, group="AutoAttack", settings=rehearsed(one).settings) for one in autoattack_parts()]
    assert word_of("sound", short) == "upper bound"


def autoattack_parts():
    whole = SUITES["standard"](Linf(eps=0.1), 10, Given(), 64)
    return [one for one in whole if isinstance(one, AutoAttackPart)]


def test_a_record_of_a_rehearsal_is_no_answer_to_a_real_question_nor_the_other_way_round():
    real, tried = full_record(), full_record(notes=(NOTE,))
    asked = {"suite": real.suite, "limit": real.limit, "seed": real.seed, "split": real.split}
    assert [Request(**asked).answered_by(record) for record in (real, tried)] == [True, False]
    assert [Request(**asked, rehearse=True).answered_by(record) for record in (real, tried)] == [False, True]


def test_a_record_of_another_temperature_or_published_number_is_no_answer():
    through = attack("KL to teacher", 0.5, settings={"loss": "KL at temperature 1 and 4"})
    square = attack("Square", 0.5, group="AutoAttack")
    held = CheckResult(id="O16", value=0.25, threshold=0.1, verdict="warn", reason="")
    record = full_record(
        attacks=(through, square), checks=(held,), autoattack_acc=0.5, robust_acc=0.5, given=GivenFiles(teacher="0" * 64)
    )
    asked = {"suite": record.suite, "limit": record.limit, "seed": record.seed, "split": record.split}

    def answers(**options):
        return Request(**asked, **options).answered_by(record)

    assert all([answers(), answers(published=0.25), answers(published=0.75)])
    assert answers(teacher="t.safetensors", temperature=4.0)
    assert not answers(teacher="t.safetensors")
    assert not answers(teacher="t.safetensors", temperature=2.0)
    assert not answers(published=0.3)
