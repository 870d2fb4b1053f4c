"""`ard bench`: the two steps compute the same where the table says so, and do no operation that they need not."""

import ctypes
import json
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from graph_double import recorded
from small_runs import cli
from torch import nn

from ard.artifacts.card import Card
from ard.artifacts.weights import save_weights
from ard.bench import benchmark, measure, networks, overhead, timed_step
from ard.bench.levers import every_row
from ard.bench.measure import huge_pages, peak_memory, ratio, rounds
from ard.bench.report import bench_table, short
from ard.bench.timed_step import TimedStep
from ard.core.errors import UserError
from ard.core.flops import count_flops
from ard.models import MobileNetV2, ResNet
from ard.training.captured import Graphs

pytestmark = [  # what the released codes do, at fewer steps than theirs
    pytest.mark.filterwarnings("ignore:PGD with relative_step"),
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides"),
]
CPU = torch.device("cpu")
ROWS = every_row()


@pytest.fixture(autouse=True)
def small(monkeypatch):
    stages = ((1, 8, 1, 1), (2, 8, 1, 2))
    small_ones = {
        "ResNet-18": lambda: ResNet(num_classes=10, width=8, blocks=(1, 1)),
        "WRN-34-10": lambda: ResNet(num_classes=10, width=8, blocks=(1,)),
        "MobileNetV2": lambda: MobileNetV2(num_classes=10, stages=stages, head=16),
    }
    monkeypatch.setattr(networks, "NETWORKS", small_ones)
    speeds = count(1e12, 1e11)  # what the machine can do is measured in one test
    kinds = [f"{work} {dtype}" for work in ("gemm", "conv") for dtype in ("float32", "bfloat16")]
    monkeypatch.setattr(benchmark, "ceilings", lambda _: dict.fromkeys(kinds, next(speeds)))


def made(row, size=4, steps=3, **options):
    return TimedStep(row, batch_size=size, steps=steps, device=CPU, **options)


def reference_of(row):
    return next(other for other in ROWS if other.group == row.group)


def row_of(group, lever):
    (row,) = [row for row in ROWS if row.group == group and lever in row.lever]
    return row


def passes(row):
    """Forwards' worth of arithmetic of the student in a step, K = 10, and the stem's share of a forward."""
    images = torch.rand(2, 3, 32, 32)
    network = networks.NETWORKS[row.student]()
    forward = count_flops(lambda: network(images))
    stem = count_flops(lambda: next(m for m in network.modules() if isinstance(m, nn.Conv2d))(images)) / forward
    teacher = 0 if row.teacher_in == "cache" else count_flops(lambda: networks.NETWORKS[row.teacher]()(images))
    step = made(row, 2, 10)
    step(0)  # the first attack also looks for what can be folded
    return (count_flops(lambda: step(1)) - teacher) / forward, stem


def test_every_group_begins_with_its_reference():
    assert len({row.name for row in ROWS}) == len(ROWS)
    assert all(reference_of(row).released for row in ROWS if row.same_mathematics)


@pytest.mark.parametrize("row", [row for row in ROWS if row.same_mathematics and not row.released], ids=lambda row: row.name)
def test_the_same_mathematics_gives_the_same_images_loss_and_weights(row):
    ours, released = (made(one, dtype=torch.float64) for one in (row, reference_of(row)))
    x, y = torch.rand(4, 3, 32, 32, dtype=torch.float64), torch.arange(4)
    for turn in range(2):
        (loss, x_adv), (other_loss, other_x) = ours.descend(x, y, turn), released.descend(x, y, turn)
        assert torch.allclose(x_adv, other_x, atol=1e-9)
        assert torch.allclose(loss, other_loss, atol=2e-4)  # RSLAD's code adds 1e-5 inside a logarithm of about 1/10
    for mine, theirs in zip(ours.student.parameters(), released.student.parameters(), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("student", ["MobileNetV2", "ResNet-18"])
def test_operations_of_an_ard_step(student):
    """23 F + T for ARD and 26 F + T as released: counted, so that noise cannot touch it."""
    released, stem = passes(row_of(f"ARD, {student}", "released"))
    assert released == pytest.approx(26 - 2 * stem)  # nobody needs the images' gradient in the two outer backwards
    for lever in ("identical", "the shipped default"):
        assert passes(row_of(f"ARD, {student}", lever))[0] == pytest.approx(23 - stem)


def test_operations_where_passes_or_the_teacher_are_saved():
    cached, stem = passes(row_of("ARD, MobileNetV2, teacher WRN-34-10", "cached"))
    assert cached == pytest.approx(23 - stem)
    assert passes(row_of("fewer passes, MobileNetV2", "N-FGSM"))[0] == pytest.approx(5 - stem)
    assert passes(row_of("fewer passes, MobileNetV2", "Fast-ARD"))[0] == pytest.approx(8 * 3)  # the image's gradient is used


@pytest.mark.parametrize("row", [row for row in ROWS if not row.compiled], ids=lambda row: row.name)
def test_every_row_takes_its_step(row):
    step = made(row, steps=1)
    before = [parameter.clone() for parameter in step.student.parameters()]
    loss, x_adv = step(0)
    assert loss.isfinite()
    assert x_adv.shape == (4, 3, 32, 32)
    assert any(not torch.equal(a, b) for a, b in zip(before, step.student.parameters(), strict=True))
    assert step.student.training
    assert all(parameter.requires_grad for parameter in step.student.parameters())


def test_a_row_is_captured_where_ours_would_be():
    """ard.Distillation captures PGD in eval mode with a teacher that answers itself, and nothing the released codes do."""
    rows = {row.name: row for row in ROWS}
    assert {name for name, row in rows.items() if "released" in name and row.captured} == set()
    assert {name for name in rows if "shipped default" in name} <= {name for name, row in rows.items() if row.captured}
    assert not any(row.captured for row in ROWS if row.attack != "PGD" or row.attack_mode == "train" or row.graphs == "none")
    assert [row.name for row in ROWS if row.captured and row.teacher_in == "cache"] == []


@pytest.mark.parametrize("group", ["ARD, MobileNetV2", "RSLAD, ResNet-18"])
def test_a_captured_attack_takes_the_same_steps(group):
    """With a double of a graph: an eager step, a capture, two replays."""
    row = row_of(group, "the shipped default")
    plain, captured = made(row), made(row)
    captured.graphs = Graphs(recorded, "cpu")
    for turn in range(4):
        first, second = plain(turn), captured(turn)
        assert all(map(torch.equal, first, second))
    assert captured.graphs.captures == 1
    assert captured.graphs._now.lesson is not None
    assert captured.watch.seconds > 0


def test_rounds_interleave_and_forget_the_first():
    order = []

    class Noted:
        count = 2

        def __init__(self, name):
            self.name, self.watch, self.row = name, timed_step.Watch(CPU), ROWS[0]

        def __call__(self, turn):
            order.append((self.name, turn))
            with self.watch:
                torch.rand(100, 100) @ torch.rand(100, 100)

    found = rounds([Noted("a"), Noted("b")], 2)
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    assert all(len(values) == 2 for seconds in found for values in seconds.values())
    assert all(
        0 < attack <= step for seconds in found for attack, step in zip(seconds["attack"], seconds["step"], strict=True)
    )
    assert ratio([2, 9, 4], [1, 3, 1]) == {"median": 3, "least": 2, "most": 4}


def test_peak_memory_sees_what_was_held_and_given_back():
    if peak_memory(lambda: None, CPU) is None:
        pytest.skip("this system does not tell")
    assert 190e6 < peak_memory(lambda: torch.ones(50_000_000).sum(), CPU) < 260e6


def test_what_a_processor_is_slow_in_does_not_hold_it_up():
    tried = []

    def slow(size):
        tried.append(size)
        return lambda: time.sleep(0.11 * (size > 1)), size

    assert measure._rate(slow, [1, 2, 4, 8], CPU) < 2 / 0.11
    assert tried == [1, 2]


def test_the_verb_writes_a_record_and_tables(place, capsys, monkeypatch):
    rate = measure._rate
    monkeypatch.setattr(measure, "_rate", lambda work_of, sizes, device: rate(work_of, sizes[:1], device))  # not for seconds
    monkeypatch.setattr(benchmark, "ceilings", measure.ceilings)
    status, out, err = cli(capsys, "bench", "--batch-size", 2, "--steps", 1, "--rounds", 1, "--only", "RSLAD, MobileNetV2")
    record = json.loads((place / "benchmark.json").read_text())
    assert (status, err.count("RSLAD, MobileNetV2")) == (0, 1)
    assert err.startswith(record["device"])
    assert [row["networks"] for row in record["rows"]] == [*["trained"] * 3, "fresh"]
    assert [row["group"] for row in record["rows"]] == ["RSLAD, MobileNetV2"] * 4
    assert record["rows"][0]["times_faster"] == {"median": 1, "least": 1, "most": 1}
    assert all(0 < row["attack_share"] < 1 for row in record["rows"])
    assert all(f"| {row['group']}: {row['lever']} |" in out for row in record["rows"])
    assert bench_table(record) == out.rstrip("\n")
    assert short(record).count("RSLAD, MobileNetV2") == 4
    record["rows"][0]["lever"] = "as released | a"
    assert all("as released \\| a |" in table(record) for table in (bench_table, short))


def test_laws_and_overhead_are_told(monkeypatch):
    monkeypatch.setattr(benchmark, "measured_rows", lambda: ROWS[:1])
    monkeypatch.setattr(overhead, "STEPS", 4)
    record = benchmark.benchmark(batch_size=4, steps=1, count=1)
    assert [law["at"] for law in record["cost_laws"].values()] == [[1, 2, 5, 10, 15], [1, 2, 4]]
    assert record["cost_laws"]["PGD steps"]["slope"] > 0
    assert "the framework costs" in bench_table(record)


LINE = {"at": [1, 2], "seconds": [0.1, 0.2], "slope": 0.1, "intercept": 0.0, "r_squared": 1.0}
LOOP = {"ours_ms": 2.0, "plain_loop_ms": 1.0, "overhead_ms": 1.0}


@pytest.mark.parametrize("laws", [None, {"PGD steps": LINE}], ids=["no laws", "laws"])
@pytest.mark.parametrize("cost", [None, LOOP], ids=["no overhead", "overhead"])
def test_laws_and_overhead_are_told_each_where_it_was_measured(laws, cost):
    made = {"batch_size": 2, "pgd_steps": 1, "rounds": 1, "rows": [], "ceilings_flops": {}}
    text = bench_table({**benchmark.conditions(CPU), **made, "cost_laws": laws, "overhead": cost})
    assert ("| over PGD steps | 1: 0.10 s, 2: 0.20 s |" in text) == bool(laws)
    assert ("the framework costs 1.00 ms a step." in text) == bool(cost)


def test_one_group_is_measured_again_onto_a_record_made_alike(place, capsys):
    words = ["bench", "--batch-size", 2, "--rounds", 1, "--only", "RSLAD, MobileNetV2"]
    cli(capsys, *words, "--steps", 1)
    record = json.loads((place / "benchmark.json").read_text())
    record["rows"].append({**record["rows"][0], "group": "ARD, ResNet-18"})
    record["rows"][0]["seconds"] = -1
    (place / "benchmark.json").write_text(json.dumps(record))
    cli(capsys, *words, "--steps", 1)
    again = json.loads((place / "benchmark.json").read_text())
    assert [row["group"] for row in again["rows"]] == ["ARD, ResNet-18", *["RSLAD, MobileNetV2"] * 4]
    assert all(row["seconds"] > 0 for row in again["rows"])
    status, _, err = cli(capsys, *words, "--steps", 2)
    assert (status, err.count("\n")) == (2, 1)
    assert "pgd_steps 1, here it is 2" in err


def test_what_was_measured_is_written_before_the_next_group_is(place, capsys, monkeypatch):
    wanted = [row for row in ROWS if row.group.startswith("RSLAD, ") and "released" in row.lever]
    monkeypatch.setattr(benchmark, "measured_rows", lambda: wanted)
    measure = benchmark._group

    def interrupted(members, *more):
        if members[0].group == "RSLAD, ResNet-18":
            raise KeyboardInterrupt
        return measure(members, *more)

    monkeypatch.setattr(benchmark, "_group", interrupted)
    status, *_ = cli(capsys, "bench", "--batch-size", 2, "--steps", 1, "--rounds", 1)
    record = json.loads((place / "benchmark.json").read_text())
    assert status == 130
    assert {row["group"] for row in record["rows"]} == {"RSLAD, MobileNetV2"}
    assert record["cost_laws"] is None
    assert "RSLAD, MobileNetV2" in bench_table(record)


def test_what_cannot_be_written_is_said_first_and_what_was_measured_is_shown(place, capsys, monkeypatch):
    def full(path, _):
        raise UserError(f"{path}: cannot be written (No space left on device)")

    words = ["bench", "--batch-size", 2, "--steps", 1, "--rounds", 1, "--only", "RSLAD, MobileNetV2"]
    monkeypatch.setattr("ard.commands.bench.write_whole", full)
    status, out, err = cli(capsys, *words)
    assert (status, "RSLAD, MobileNetV2: " in out, err.splitlines()[-1]) == (
        2,
        True,
        "ard: benchmark.json: cannot be written (No space left on device)",
    )
    monkeypatch.setattr(benchmark, "measured_rows", pytest.fail)
    (place / "benchmark.json").mkdir()
    for output in ("benchmark.json", "nowhere/benchmark.json"):
        status, out, err = cli(capsys, *words, "--out", output)
        assert (status, out, err.count("\n"), f"{output}: cannot be written" in err) == (2, "", 1, True)


@pytest.mark.parametrize("option", ["--batch-size", "--steps", "--rounds"])
def test_what_is_counted_begins_at_one(option, place, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "benchmark", pytest.fail)
    status, out, err = cli(capsys, "bench", option, 0)
    assert (status, out, err) == (2, "", f"ard: {option} 0: expected at least 1\n")
    assert not (place / "benchmark.json").exists()


def test_a_group_that_does_not_exist_is_one_line(place, capsys):
    status, _, err = cli(capsys, "bench", "--only", "VGG")
    assert (status, err.count("\n")) == (2, 1)
    assert "RSLAD, MobileNetV2" in err
    assert not (place / "benchmark.json").exists()


def test_trained_networks_are_read_from_files_or_trained_once_and_every_row_has_its_own(tmp_path):
    card = Card(class_path="ard.models.ResNet", init_args={"width": 8, "blocks": [1, 1]}, num_classes=10)
    save_weights(tmp_path / "resnet.safetensors", networks.fresh("ResNet-18"), card)
    trained = networks.Trained([tmp_path / "resnet.safetensors"], CPU)
    assert all(
        map(torch.equal, trained("ResNet-18").state_dict().values(), networks.fresh("ResNet-18").state_dict().values())
    )
    one, other = (trained("MobileNetV2") for _ in range(2))
    assert all(map(torch.equal, one.parameters(), other.parameters()))
    assert next(one.parameters()) is not next(other.parameters())
    norm = next(module for module in one.modules() if isinstance(module, nn.BatchNorm2d))
    assert int(norm.num_batches_tracked) == networks.STEPS


def test_weights_of_another_network_are_one_line(place, capsys):
    card = Card(class_path="ard.models.ResNet", init_args={"width": 2, "blocks": [1]}, num_classes=10)
    save_weights(place / "other.safetensors", ResNet(num_classes=10, width=2, blocks=[1]), card)
    status, _, err = cli(capsys, "bench", "--weights", "other.safetensors", "--only", "RSLAD, MobileNetV2")
    assert (status, err.count("\n")) == (2, 1)
    assert "other.safetensors: its network is none of those that are timed; expected " in err


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="a system without huge pages")
def test_a_row_without_huge_pages_does_not_lend_from_its_neighbours(monkeypatch):
    libc, asked = ctypes.CDLL(None), []
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "always [madvise] never")
    for wanted in (False, True):
        huge_pages(wanted)
        asked.append(libc.prctl(42, 0, 0, 0, 0))  # PR_GET_THP_DISABLE
    assert asked == [1, 0]
    assert [row.huge_pages for row in ROWS if row.released] == [False] * sum(row.released for row in ROWS)
