"""An evaluation that was interrupted goes on: the same verdicts, nothing done twice, nothing believed that is damaged."""

import os
import pickle
import shutil
from dataclasses import replace

import pytest
import torch
from in_time import in_time
from interruptions import NO_CHECKOUT, timeless
from small_runs import NETWORK, cli, digits, narrow, trained, write_weights, write_yaml
from tiny import user_error

from ard.attacks import Linf
from ard.evaluation.adversaries import GradientAdversary
from ard.evaluation.blocks import Store
from ard.evaluation.evaluation import Evaluation

pytestmark = pytest.mark.usefixtures("short_attacks")

BLOCK = 20
N = 22  # a block and a tenth
STEPS = ["clean", "FGSM", "PGD-20", "CW", "Targeted", "Squares", "recheck"]  # a block is written after each
GRADIENTS = [step for step in STEPS[1:-1] if step != "Squares"]


class Interrupted(BaseException):
    pass


class Dying(Store):
    """Dies in place of its write after `writes` others."""

    def __init__(self, folder, writes):
        super().__init__(folder)
        self.left = writes

    def write(self, block):
        self.left -= 1
        if self.left < 0:
            raise Interrupted
        super().write(block)


def evaluation(store=None):
    return Evaluation(trained(), *digits(N), Linf(eps=0.1), block_size=BLOCK, store=store)


def judged(store=None):
    evaluated = evaluation(store)
    evaluated.judge()
    return evaluated


def verdicts(evaluated):
    return timeless(evaluated.record()), evaluated.verdicts.x_adv


def assert_same(found, expected):
    assert found[0] == expected[0]
    assert torch.equal(found[1], expected[1])


@pytest.fixture(scope="module")
def expected():
    return verdicts(judged())


@pytest.fixture
def attacks(monkeypatch):
    """The names of the attacks that ran, one a block."""
    ran, attack = [], GradientAdversary.__call__
    monkeypatch.setattr(GradientAdversary, "__call__", lambda self, *given: ran.append(self.name) or attack(self, *given))
    return ran


@pytest.fixture
def weights(place, monkeypatch):
    for name, value in NO_CHECKOUT.items():
        monkeypatch.setenv(name, value)
    return write_weights(place / "student.safetensors")


def test_whatever_was_written_last_nothing_of_it_is_done_again(tmp_path, attacks, expected):
    for writes in range(2 * len(STEPS)):
        attacks.clear()
        with pytest.raises(Interrupted):
            judged(Dying(tmp_path / str(writes), writes))
        lost = STEPS[writes % len(STEPS)]
        again = judged(Store(tmp_path / str(writes)))
        assert sorted(attacks) == sorted([*GRADIENTS, *GRADIENTS, *{lost} & set(GRADIENTS)])
        assert_same(verdicts(again), expected)


def test_what_is_whole_is_not_announced_again(tmp_path, monkeypatch):
    """Of a block, a tenth and their two shards: the seconds that are left, not those of the whole."""
    monkeypatch.setattr(Evaluation, "seconds_a_pass", lambda _: 10.0)
    with pytest.raises(Interrupted):
        judged(Dying(tmp_path / "half", len(STEPS)))
    whole, half = (evaluation(Store(tmp_path / name)) for name in ("none", "half"))
    assert half.estimate() == whole.estimate((2, 2)) == pytest.approx(whole.estimate() * (N - BLOCK) / N)
    assert half.estimate((1, 2)) == 0


def damages(blocks, other):
    """Contents that a file of a block must not be believed with."""
    first, second = (path.read_bytes() for path in sorted(blocks.iterdir()))
    yield "empty", b""
    yield "header alone", first[: 8 + int.from_bytes(first[:8], "little")]
    yield "truncated", first[:-1]
    yield "longer", first + b"\0"
    yield "another block", second
    yield "another file", other.read_bytes()
    yield "pickle", pickle.dumps({"correct": [True] * BLOCK})
    yield "zeros", bytes(len(first))


def test_a_block_that_is_damaged_or_foreign_is_judged_again_and_no_other(tmp_path, attacks, expected):
    sound, other = tmp_path / "sound", write_weights(tmp_path / "other.safetensors")
    judged(Store(sound))
    for name, content in damages(sound, other):
        attacks.clear()
        folder = tmp_path / name
        shutil.copytree(sound, folder)
        sorted(folder.iterdir())[0].write_bytes(content)
        again = judged(Store(folder))
        assert (name, attacks) == (name, GRADIENTS)
        assert_same(verdicts(again), expected)


def test_a_block_that_contradicts_itself_is_judged_again(tmp_path, expected):
    """Its digest is right, as that of whoever writes such a block on purpose."""
    store = Store(tmp_path / "blocks")
    judged(store)
    sound = store.read(0)
    for change in (
        {"correct": {}},
        {"correct": {"clean": sound.correct["clean"]}},
        {"correct": {name: bits for name, bits in sound.correct.items() if name != "clean"}},
        {"correct": {name: bits[1:] for name, bits in sound.correct.items()}},
        {"correct": {name: bits.float() for name, bits in sound.correct.items()}},
        {"facts": {}},
        {"facts": {**sound.facts, "FGSM": {"seconds": "long"}}},
        {"facts": []},
        {"moved": sound.moved[1:]},
        {"x_adv": sound.x_adv[:, :, 1:]},
    ):
        store.write(replace(sound, **change))
        assert evaluation(store).judged_before() == 1  # the other block
    assert_same(verdicts(judged(store)), expected)


def test_a_block_with_one_wrong_bit_anywhere_is_not_believed(tmp_path):
    store = Store(tmp_path / "blocks")
    judged(store)
    path = sorted(store.folder.iterdir())[0]
    content = path.read_bytes()
    assert store.read(0).whole
    for place in [*range(0, 3000, 7), *range(3000, len(content), 97)]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert store.read(0).correct == {}
    path.unlink()
    os.mkfifo(path)
    os.mkfifo(store.folder.with_suffix(".lock"))
    with in_time():
        assert store.read(0).correct == {}
        with user_error("cannot be written"), store.alone():
            pass


def begun(capsys, monkeypatch, place, *arguments):
    """The name of the folder in which a command waits that was interrupted after its first write."""
    write = Store.write
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", lambda self, block: write(self, block) or interrupt())
        assert cli(capsys, "evaluate", "--limit", 20, *arguments)[0] == 130
    [folder] = place.glob(".*.blocks")
    shutil.rmtree(folder)
    return folder.name


def interrupt():
    raise KeyboardInterrupt


OTHERS = """
--suite standard; --eps 8/255; --seed 1; --split val; --norm L2 --eps 1; --limit 30; --network halved.yaml; --attacks FFGSM
--suite standard --teacher teacher.safetensors; --suite standard --teacher other.safetensors; --attacks FFGSM,MIFGSM
--suite full; --suite full --teacher teacher.safetensors; --suite full --teacher teacher.safetensors --temperature 2
--suite full --transfer other.safetensors; --suite full --transfer other.safetensors,teacher.safetensors
--undefended other.safetensors; --undefended teacher.safetensors
"""


def test_no_request_goes_on_where_another_stopped(weights, place, capsys, monkeypatch):
    pytest.importorskip("torchattacks")
    other = write_weights(place / "other.safetensors", narrow())
    write_weights(place / "teacher.safetensors", narrow(width=8), init_args={**NETWORK, "width": 8})
    write_yaml(place / "halved.yaml", {"class_path": "ard.models.ResNet", "init_args": {**NETWORK, "stem_stride": 2}})
    requests = [request.split() for line in OTHERS.strip().splitlines() for request in line.split(";")]
    names = [begun(capsys, monkeypatch, place, weights, *request) for request in ([], *requests)]
    assert len(set(names)) == len(names) == 19
    shutil.copy(other, weights)
    assert begun(capsys, monkeypatch, place, weights) not in names


def test_what_changes_no_verdict_goes_on(weights, place, capsys, monkeypatch):
    requests = [[], ["--shard", "1/2"], ["--eps", "1/10"], ["--norm", "Linf"], ["--split", "test"], ["--suite", "quick"]]
    assert len({begun(capsys, monkeypatch, place, weights, *request) for request in requests}) == 1
