"""`ard evaluate` as processes that are killed, interrupted, or share one evaluation: real ones, with real signals."""

import json
import os
import random
import signal
import time

import pytest
from interruptions import ended, lying, said, start, timeless
from small_runs import write_weights

pytestmark = pytest.mark.usefixtures("short_attacks")

LIMIT = ("--limit", 250)  # two and a half blocks
RESULTS = [f"evaluation.{kind}" for kind in ("json", "md", "robustbench.json", "shown.safetensors")]
LEFT = [*RESULTS, "student.safetensors"]
CHANGES_OF_A_BLOCK = 2 * 5  # a file is replaced, its temporary unlinked: after the clean images, each attack, the recheck


@pytest.fixture
def weights(tmp_path):
    return write_weights(tmp_path / "run" / "student.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    weights = write_weights(tmp_path_factory.mktemp("uninterrupted") / "run" / "student.safetensors")
    assert ended(start(weights, *LIMIT)) == [0]
    return record_beside(weights)


def record_beside(weights):
    return timeless(json.loads((weights.parent / "evaluation.json").read_text()))


def test_killed_at_every_write_in_turn_it_ends_with_the_same_record(weights, uninterrupted):
    """Each process lives for one write: nobody gets further who does not go on where the one before him stopped."""
    for _ in range(15):
        assert ended(start(weights, *LIMIT, dies_at=2)) == [-signal.SIGKILL]
        assert not (weights.parent / "evaluation.json").exists()
    assert ended(start(weights, *LIMIT)) == [0]
    assert record_beside(weights) == uninterrupted
    assert lying(weights.parent) == LEFT


def test_killed_at_any_time_it_ends_with_the_same_record(weights, uninterrupted):
    draw = random.Random(0)
    ends = [ended(start(weights, *LIMIT, dies_after=draw.uniform(0.1, 0.5)))[0] for _ in range(6)]
    assert -signal.SIGPROF in ends
    assert {*ends} <= {-signal.SIGPROF, 0}
    assert ended(start(weights, *LIMIT)) == [0]
    assert record_beside(weights) == uninterrupted
    assert lying(weights.parent) == LEFT


@pytest.mark.slow
@pytest.mark.parametrize("each", [3, pytest.param(1, marks=pytest.mark.campaign)])
def test_killed_while_it_writes_its_results_it_leaves_them_whole_and_nothing_beside_them(each, weights):
    """The last moments: images, card, entry and record are written, blocks and lock removed, one after the other."""
    options, died = ("--limit", 20, "--save-adversarial"), 0
    assert ended(start(weights, *options)) == [0]
    expected, left = record_beside(weights), lying(weights.parent)
    take_results(weights)
    while ended(start(weights, *options, dies_at=CHANGES_OF_A_BLOCK + died + 1)) != [0]:
        died += each
        if (weights.parent / "evaluation.json").exists():  # then everything else does
            assert record_beside(weights) == expected
            assert set(left) <= set(lying(weights.parent))
        assert ended(start(weights, *options)) == [0]
        assert (record_beside(weights), lying(weights.parent)) == (expected, left)
        take_results(weights)
    assert died >= 2 * 5 + 3


def take_results(weights):
    for result in weights.parent.glob("evaluation.*"):
        result.unlink()


def test_ctrl_c_is_one_line_and_status_130_and_the_next_call_goes_on(weights, uninterrupted):
    process = start(weights, *LIMIT)
    while process.is_alive() and not list(weights.parent.glob(".*.blocks/block-*")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    assert (ended(process), said(weights)) == ([130], ["ard: interrupted"])
    assert list(weights.parent.glob(".*.blocks/block-*"))
    assert ended(start(weights, *LIMIT)) == [0]
    assert record_beside(weights) == uninterrupted
    assert lying(weights.parent) == LEFT


def test_shards_at_the_same_time_are_one_evaluation(weights, uninterrupted):
    processes = [start(weights, *LIMIT, "--shard", f"{k}/2") for k in (1, 2)]
    assert ended(*processes) == [0, 0]
    assert record_beside(weights) == uninterrupted
    assert lying(weights.parent) == LEFT
    assert sum("worst case" in line for line in said(weights)) >= 1


def test_a_shard_that_was_killed_is_started_again(weights, uninterrupted):
    first = start(weights, *LIMIT, "--shard", "1/2", dies_at=7)
    assert ended(first, start(weights, *LIMIT, "--shard", "2/2")) == [-signal.SIGKILL, 0]
    assert said(weights) == ["student.safetensors: shard 2/2 is done; the last shard to finish writes the record"]
    assert not (weights.parent / "evaluation.json").exists()
    assert ended(start(weights, *LIMIT, "--shard", "1/2")) == [0]
    assert record_beside(weights) == uninterrupted
    assert lying(weights.parent) == LEFT


def test_two_that_know_nothing_of_each_other_do_no_harm(weights, uninterrupted):
    assert ended(start(weights, *LIMIT), start(weights, *LIMIT)) == [0, 0]
    assert record_beside(weights) == uninterrupted
    assert lying(weights.parent) == LEFT
