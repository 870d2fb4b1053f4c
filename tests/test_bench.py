"""`ard bench`: the two steps compute the same where the table says so, and do no operation that they need not."""

import json
import time

import pytest
import torch
from small_runs import cli
from torch import nn

from ard.bench import rows as bench_rows
from ard.bench.measure import ratio, rounds
from ard.bench.rows import Row, Step, every_row
from ard.flops import count_flops
from ard.models import MobileNetV2, ResNet

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(bench_rows.STUDENTS, "ResNet-18", lambda: ResNet(num_classes=10, width=4, blocks=(1, 1)))
    stages = ((1, 8, 1, 1), (2, 8, 1, 2))
    monkeypatch.setitem(bench_rows.STUDENTS, "MobileNetV2", lambda: MobileNetV2(num_classes=10, stages=stages, head=16))


def made(row, size=4, **options):
    return Step(row, batch_size=size, steps=3, device=CPU, **options)


def reference_of(row):
    return next(other for other in every_row() if other.group == row.group and other.released)


@pytest.mark.parametrize(
    "row", [row for row in every_row() if row.same_mathematics and not row.released], ids=lambda row: row.name
)
def test_the_same_mathematics_gives_the_same_images_loss_and_weights(row):
    ours, released = (made(one, dtype=torch.float64) for one in (row, reference_of(row)))
    for turn in range(2):
        (loss, x_adv), (other_loss, other_x) = ours(turn), released(turn)
        assert torch.allclose(x_adv, other_x, atol=1e-9)
        assert torch.allclose(loss, other_loss, atol=2e-4)  # RSLAD's code adds 1e-5 inside a logarithm of about 1/10
    for mine, theirs in zip(ours.student.parameters(), released.student.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("student", ["MobileNetV2", "ResNet-18"])
def test_operations_of_a_step(student):
    """23 F + T for ARD and 26 F + T as released, K = 10: counted, so that noise cannot touch it."""
    size, images = 2, torch.rand(2, 3, 32, 32)
    forward = count_flops(lambda: bench_rows.STUDENTS[student]()(images))
    teacher = count_flops(lambda: bench_rows.STUDENTS["ResNet-18"]()(images))

    def passes(row):
        step = Step(row, batch_size=size, steps=10, device=CPU)
        step(0)
        return (count_flops(lambda: step(1)) - teacher) / forward

    ard, lean, *_ = [row for row in every_row() if row.method == "ARD" and row.student == student]
    default = next(row for row in every_row() if row.method == "ARD" and row.student == student and "folded" in row.lever)
    network = bench_rows.STUDENTS[student]()
    stem = count_flops(lambda: next(m for m in network.modules() if isinstance(m, nn.Conv2d))(images)) / forward
    assert passes(ard) == pytest.approx(26 - 2 * stem)  # nobody needs the images' gradient in the two outer backwards
    assert passes(lean) == pytest.approx(23 - stem)
    assert passes(default) == pytest.approx(23 - stem)


def test_rounds_interleave_and_forget_the_first():
    order = []
    seconds = rounds([("a", lambda turn: order.append(("a", turn))), ("b", lambda _: time.process_time())], 2, CPU)
    assert order == [("a", 0), ("a", 1), ("a", 2)]
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}
    assert ratio([2, 9, 4], [1, 3, 1]) == {"median": 3, "least": 2, "most": 4}


def test_the_verb_writes_a_record_and_a_table(place, capsys):
    status, out, err = cli(capsys, "bench", "--batch-size", 2, "--steps", 1, "--rounds", 1, "--only", "RSLAD, MobileNetV2")
    record = json.loads((place / "benchmark.json").read_text())
    assert (status, err.count("RSLAD, MobileNetV2")) == (0, 1)
    assert [row["group"] for row in record["rows"]] == ["RSLAD, MobileNetV2"] * 3
    assert record["rows"][0]["times_faster"] == {"median": 1, "least": 1, "most": 1}
    assert all(f"| {row['group']}: {row['lever']} |" in out for row in record["rows"])
    assert isinstance(every_row()[0], Row)
