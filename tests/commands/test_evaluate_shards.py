"""Processes that share one evaluation: any number, in any order, in each other's way; each image counts once."""

import json
import os
import queue
import shutil
import threading

import pytest
import torch
from interruptions import NO_CHECKOUT, lying, timeless
from small_runs import cli, digits, files_below, trained, write_weights

from ard.attacks import Linf
from ard.evaluation.adversaries import GradientAdversary
from ard.evaluation.blocks import Store
from ard.evaluation.evaluation import Evaluation, evaluate_images

pytestmark = pytest.mark.usefixtures("short_attacks", "small_blocks")

LIMIT = ("--limit", 50)  # two and a half blocks
RESULTS = [f"evaluation.{kind}" for kind in ("json", "md", "robustbench.json", "shown.safetensors")]
LEFT = [*RESULTS, "student.safetensors"]


@pytest.fixture
def weights(place, monkeypatch):
    for name, value in NO_CHECKOUT.items():
        monkeypatch.setenv(name, value)
    return write_weights(place / "student.safetensors")


@pytest.fixture
def alone(weights, capsys):
    """The record of one process."""
    assert cli(capsys, "evaluate", weights, *LIMIT)[0] == 0
    return take_record(weights)


def take_record(weights):
    record = weights.with_name("evaluation.json")
    content = json.loads(record.read_text())
    record.unlink()
    return timeless(content)


@pytest.mark.fault(44)
@pytest.mark.parametrize("order", ["1/2 2/2", "2/2 1/2", "3/3 1/3 2/3", "5/5 2/5 4/5 1/5 3/5"])
def test_shards_one_after_the_other_are_one_evaluation(order, weights, alone, capsys, observed):
    *first, last = order.split()
    for shard in first:
        status, out, err = cli(capsys, "evaluate", weights, *LIMIT, "--shard", shard)
        assert (status, err) == (0, "")
        assert out == f"{weights}: shard {shard} is done; the last shard to finish writes the record\n"
        assert not weights.with_name("evaluation.json").exists()
    status, out, err = cli(capsys, "evaluate", weights, *LIMIT, "--shard", last)
    assert (status, err) == (0, "")
    assert "worst case" in out
    assert lying(weights.parent) == LEFT
    assert take_record(weights) == alone
    observed(f"{len(order.split())} processes: the record of one")


def test_what_a_finished_evaluation_lacks_is_not_asked_of_one_shard(weights, capsys):
    for shard in ("1/2", "2/2"):
        assert cli(capsys, "evaluate", weights, *LIMIT, "--shard", shard)[0] == 0
    for option in ("--save-adversarial", "--additional-data"):
        status, out, err = cli(capsys, "evaluate", weights, *LIMIT, "--shard", "1/2", option)
        assert (status, out) == (2, "")
        assert f"evaluation.json is finished, without {option}: expected it in every shard from the start" in err
    assert lying(weights.parent) == LEFT


def test_a_shard_without_a_block_waits_for_nobody_and_leaves_nothing(weights, capsys):
    assert cli(capsys, "evaluate", weights, *LIMIT, "--shard", "4/4")[0] == 0
    assert lying(weights.parent) == [weights.name]
    for shard in ("1/4", "2/4", "3/4", "4/4"):
        assert cli(capsys, "evaluate", weights, *LIMIT, "--shard", shard)[0] == 0
    assert lying(weights.parent) == LEFT


def test_a_shard_takes_the_gpu_of_its_number(weights, capsys, monkeypatch):
    taken = []
    monkeypatch.setattr("ard.commands.evaluate_file.take_gpu", taken.append)
    for shard in ((), ("--shard", "2/2"), ("--shard", "1/2")):
        assert cli(capsys, "evaluate", weights, *LIMIT, *shard)[0] == 0
    assert taken == [1, 0]


def test_shards_of_files_that_hold_one_network_are_each_of_their_own(weights, alone, capsys):
    last = weights.with_name("last.safetensors")
    last.write_bytes(weights.read_bytes())
    for shard in ("1/2", "2/2"):
        assert cli(capsys, "evaluate", weights, last, *LIMIT, "--shard", shard)[0] == 0
    assert take_record(weights) == alone
    assert not [file for file in lying(weights.parent) if "blocks" in file or "lock" in file]
    assert json.loads(last.with_name("last.evaluation.json").read_text())["bits"] == alone["bits"]


FORTY = ("--limit", 40)


@pytest.fixture
def short_of_memory(monkeypatch):
    """Blocks of 20 images where memory suffices, else of 10; a set of sizes for which it does not."""
    monkeypatch.setattr("ard.evaluation.cascade.block_sizes", lambda _: [20, 10])
    judge, sizes = Evaluation.judge, set()

    def limited(self, *given):
        if self.block_size in sizes:
            raise torch.OutOfMemoryError("CUDA out of memory")
        judge(self, *given)

    monkeypatch.setattr(Evaluation, "judge", limited)
    return sizes


def test_a_shard_without_memory_leaves_what_others_did_and_says_so(weights, capsys, short_of_memory):
    assert cli(capsys, "evaluate", weights, *FORTY, "--shard", "1/2")[0] == 0
    done = files_below(weights.parent)
    short_of_memory.add(20)
    status, out, err = cli(capsys, "evaluate", weights, *FORTY, "--shard", "2/2")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "shard 2/2 has no memory to attack 20 images at once, as others did: call it again where more memory is" in err
    assert files_below(weights.parent) == done
    short_of_memory.clear()
    assert cli(capsys, "evaluate", weights, *FORTY, "--shard", "2/2")[0] == 0
    assert lying(weights.parent) == LEFT


def test_shards_without_memory_all_attack_fewer_at_once(weights, capsys, short_of_memory):
    """The first goes on with fewer, as no other is done; the other has memory, and comes to the same size."""
    short_of_memory.add(20)
    assert cli(capsys, "evaluate", weights, *FORTY, "--shard", "1/2")[0] == 0
    short_of_memory.clear()
    status, out, err = cli(capsys, "evaluate", weights, *FORTY, "--shard", "2/2")
    assert (status, err, "worst case" in out) == (0, "", True)
    assert lying(weights.parent) == LEFT
    assert "worst case" in cli(capsys, "evaluate", weights, *FORTY, "--shard", "1/2")[1]


def test_a_shard_that_ends_after_another_began_smaller_blocks_comes_to_them(weights, capsys, short_of_memory, monkeypatch):
    judge = Evaluation.judge

    def meanwhile(self, *given):
        judge(self, *given)
        if self.block_size == 20:
            monkeypatch.setattr(Evaluation, "judge", judge)
            for block in weights.parent.glob(".*.blocks/*"):
                block.unlink()  # it began before this one was done with a block
            short_of_memory.add(20)
            assert cli(capsys, "evaluate", weights, *FORTY, "--shard", "2/2")[0] == 0

    monkeypatch.setattr(Evaluation, "judge", meanwhile)
    status, out, _ = cli(capsys, "evaluate", weights, *FORTY, "--shard", "1/2")
    assert (status, "worst case" in out) == (0, True)
    assert lying(weights.parent) == LEFT


@pytest.mark.parametrize("of", [2, 3, 7])
def test_every_image_is_attacked_once(of, tmp_path, monkeypatch):
    shown, attack = {}, GradientAdversary.__call__

    def counted(self, model, x, y, generator):
        shown[self.name] = shown.get(self.name, 0) + len(x)
        return attack(self, model, x, y, generator)

    monkeypatch.setattr(GradientAdversary, "__call__", counted)
    (x, y), store = digits(50), Store(tmp_path / "blocks")
    for k in range(of, 0, -1):
        evaluation = Evaluation(trained(), x, y, Linf(eps=0.1), store=store, block_size=20)
        evaluation.judge((k, of))
    attacked = dict(shown)
    record = evaluation.record()
    right = int((trained()(x).argmax(1) == y).sum())
    assert attacked.pop("Targeted") < right / 2  # of every second image those that withstood the others
    assert attacked == {"FGSM": right, "PGD-20": right, "CW": right}
    assert sum(row.n for row in record.per_class) == record.n == 50
    assert {check.id: check.verdict for check in record.checks}["V8"] == "pass"


@pytest.mark.parametrize("options", [(), ("--shard", "2/2")], ids=["whole", "shard"])
def test_who_finds_everything_done_says_what_came_out_and_leaves_nothing(options, weights, alone, capsys, monkeypatch):
    judge = Evaluation.judge

    def overtaken(self, *given):
        judge(self, *given)
        monkeypatch.setattr(Evaluation, "judge", judge)
        assert cli(capsys, "evaluate", weights, *LIMIT)[0] == 0

    monkeypatch.setattr(Evaluation, "judge", overtaken)
    status, out, err = cli(capsys, "evaluate", weights, *LIMIT, *options)
    assert (status, err) == (0, "")
    assert "worst case" in out
    assert lying(weights.parent) == LEFT
    assert take_record(weights) == alone


def test_one_at_a_time_finishes_and_the_next_learns_that_it_is_done(tmp_path):
    store, answers, begun = Store(tmp_path / ".blocks"), queue.Queue(), threading.Event()
    store.open()

    def wait():
        begun.set()
        with Store(store.folder).alone() as unfinished:
            answers.put(unfinished)

    with store.alone() as unfinished:
        assert unfinished
        threading.Thread(target=wait).start()
        assert begun.wait(60)
        with pytest.raises(queue.Empty):
            answers.get(timeout=0.2)
        store.remove()
    assert answers.get(timeout=60) is False


def remove_all(temporary):
    shutil.rmtree(os.path.dirname(temporary))


@pytest.mark.parametrize("remove", [remove_all, os.unlink], ids=["folder", "temporary"])
def test_a_folder_may_vanish_while_it_is_written_to_because_another_has_finished(remove, tmp_path, monkeypatch):
    """Its remover takes the files away one by one and the folder last."""
    replace, written = os.replace, []

    def replaced(source, target):
        written.append(target)
        if len(written) in (1, 4):
            remove(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replaced)
    evaluation = Evaluation(trained(), *digits(20), Linf(eps=0.1), store=Store(tmp_path / "blocks"), block_size=20)
    evaluation.judge()
    assert len(written) == 7 + 2
    assert timeless(evaluation.record()) == timeless(evaluate_images(trained(), *digits(20), Linf(eps=0.1)))


def test_where_nothing_can_be_written_is_one_line(place, capsys):
    """A folder whose name is too long for any file system stands for one that may not be written to: root may do all."""
    weights = write_weights(place / f"{'w' * 230}.safetensors")
    status, out, err = cli(capsys, "evaluate", weights, "--limit", 20)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "cannot be written to" in err
    assert lying(place) == [weights.name]


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_that_cannot_be_written_is_one_line_and_loses_no_work(name, weights, capsys, monkeypatch):
    (weights.parent / name).mkdir()
    status, out, err = cli(capsys, "evaluate", weights, "--limit", 20)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"{name}: cannot be written" in err
    (weights.parent / name).rmdir()
    monkeypatch.setattr("ard.evaluation.evaluation.judge_block", pytest.fail)
    assert cli(capsys, "evaluate", weights, "--limit", 20)[0] == 0
    assert lying(weights.parent) == LEFT
