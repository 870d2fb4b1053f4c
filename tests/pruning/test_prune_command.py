"""`ard prune`: what it writes and where, what it refuses, and what records and tables say of a pruned student."""

import json
from dataclasses import replace

import pytest
import torch
from pruning_networks import content
from small_runs import cli, files_below, narrow, one_line, trained, write_weights

from ard.artifacts.record_file import read_record, write_record
from ard.artifacts.record_parts import RunInfo
from ard.artifacts.weights import read_stored
from ard.models import load
from ard.report.grouping import load_records

pytestmark = pytest.mark.usefixtures("short_attacks")

SEEDS = "runs/net/seed3"
RUN = RunInfo(study=None, method="ard", role="student", checkpoint="best", seed=3, swept={}, teachers={})


@pytest.fixture
def run(place):
    return write_weights(place / SEEDS / "student.safetensors")


@pytest.mark.parametrize("how", ["magnitude", "random", "fanout"])
def test_the_result_is_weights_like_any_other_beside_the_run(run, place, capsys, how):
    status, out, err = cli(capsys, "prune", SEEDS, "--how", how, "--keep", "0.6")
    written = place / f"runs/net-{how}-0.6/seed3/student.safetensors"
    assert (status, err) == (0, "")
    assert out.startswith(f"runs/net-{how}-0.6/seed3/student.safetensors\n")
    stored, before = read_stored(written), read_stored(run)
    assert stored.card == replace(before.card, pruned=stored.card.pruned)
    assert (stored.card.pruned.how, stored.card.pruned.keep, stored.card.pruned.of) == (how, 0.6, before.sha256)
    left = sum(int(torch.count_nonzero(part)) for part in load(written).parameters())
    assert stored.card.pruned.nonzero == left < sum(part.numel() for part in trained().parameters())
    assert f"{left:,} of " in out
    assert files_below(place) == [f"runs/net-{how}-0.6/seed3/student.safetensors", f"{SEEDS}/student.safetensors"]


@pytest.mark.parametrize(
    ("weights", "words", "written"),
    [
        ("net/student.safetensors", (), "net-magnitude-0.5/student.safetensors"),
        ("net/seed1/last.safetensors", (), "net-last-magnitude-0.5/seed1/student.safetensors"),
        ("net/fold2/seed1/student.safetensors", (), "net-magnitude-0.5/fold2/seed1/student.safetensors"),
        ("net/mine.safetensors", (), "net/mine-magnitude-0.5/student.safetensors"),
        ("net/mine.safetensors", ("--out", "there"), "there/student.safetensors"),
        ("net/mine.safetensors", ("--out", "there/thin.safetensors"), "there/thin.safetensors"),
    ],
)
def test_where_it_goes(place, capsys, weights, words, written):
    write_weights(place / weights)
    assert cli(capsys, "prune", weights, *words)[0] == 0
    assert files_below(place) == sorted([weights, written])


@pytest.mark.usefixtures("run")
def test_nothing_is_overwritten_unasked_and_equal_words_write_equal_weights(place, capsys):
    words = ["prune", SEEDS, "--how", "random", "--out", "out"]
    assert cli(capsys, *words)[0] == 0
    first = content(place / "out/student.safetensors")
    status, _, err = cli(capsys, *words)
    assert (status, err) == (2, "ard: out/student.safetensors is there already: add --replace, or --out DIR\n")
    assert cli(capsys, *words, "--replace")[0] == 0
    assert content(place / "out/student.safetensors") == first
    assert cli(capsys, *words, "--replace", "--seed=1")[0] == 0
    assert content(place / "out/student.safetensors") != first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--keep=1",), "--keep 1: expected a share of the weights between 0 and 1"),
        (("--keep=0",), "--keep 0: expected a share"),
        (("--keep=nan",), "keep: 'nan': expected a number"),
        (("--how=fan-out",), "did you mean 'fanout'?"),
        (("--teacher=other.safetensors",), "--teacher has no effect with --how magnitude: add --how fanout"),
        (("--how=fanout", "--teacher=nowhere"), "nowhere: no such file"),
        (("--how=fanout", "--teacher=other.safetensors"), "class 0 is 'a' in the weights and '0' in the data"),
        (("--how=dpp",), "ResNet has no 1×1 convolution or linear layer that alone reads the channels of another"),
        (("--how=fanout", "--limit=1"), "--limit 1: expected at least 2 images"),
        (("--how=fanout", "--keep=0.1"), "of the weights are left; expected at least that"),
        (("--data=nope.yaml",), "nope.yaml"),
        (("--limit=50",), "--limit has no effect with --how magnitude: add --smaller or --how fanout, or leave it out"),
        (("--data=digits.yaml",), "--data has no effect with --how magnitude: add --smaller or --how fanout"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("run")
def test_a_mistake_is_one_line_and_leaves_nothing(place, capsys, words, message):
    (place / "digits.yaml").write_text("data: {class_path: ard.data.Digits}")
    write_weights(place / "other.safetensors", narrow(3), num_classes=3, classes=["a", "b", "c"], input_shape=[1, 8, 8])
    assert message in one_line(place, capsys, "prune", SEEDS, *words)


@pytest.mark.usefixtures("run")
def test_a_teacher_of_the_same_classes_is_compared_with(place, capsys):
    teacher = write_weights(place / "teacher.safetensors", narrow())
    words = ["prune", SEEDS, "--how", "fanout", "--keep", "0.7"]
    assert cli(capsys, *words, "--teacher", "teacher.safetensors")[0] == 0
    assert cli(capsys, *words, "--out", "alone")[0] == 0
    with_teacher, alone = (read_stored(place / folder) for folder in ("runs/net-fanout-teacher-0.7/seed3", "alone"))
    assert with_teacher.card.pruned.teacher == read_stored(teacher).sha256
    assert alone.card.pruned.teacher is None


def test_a_card_without_pruning_is_written_as_before(run):
    assert "pruned" not in json.loads(read_stored(run).card.text)


@pytest.mark.usefixtures("run")
def test_the_record_says_that_the_student_is_pruned(place, capsys):
    cli(capsys, "prune", SEEDS, "--how", "fanout", "--keep", "0.6")
    for folder in (SEEDS, "runs/net-fanout-0.6/seed3"):
        assert cli(capsys, "evaluate", folder, "--suite", "quick", "--limit", "20")[0] in (0, 3, 4)
    record = read_record(place / "runs/net-fanout-0.6/seed3/evaluation.json")
    pruned = read_stored(place / "runs/net-fanout-0.6/seed3").card.pruned
    assert record.pruned == pruned
    page = (place / "runs/net-fanout-0.6/seed3/evaluation.md").read_text()
    assert (
        f"{record.params:,} parameters, {pruned.nonzero:,} of them not zero: pruned by fanout, of sha256 {pruned.of}" in page
    )
    assert "pruned" not in (place / SEEDS / "evaluation.json").read_text()
    status, out, _ = cli(capsys, "compare", "runs")
    cells = {line.split(" | ")[0].strip("| "): line for line in out.splitlines() if line.startswith("| net")}
    assert (status, set(cells)) == (0, {"net", "net-fanout-0.6"})
    assert "| not zero |" in out
    assert f"| {record.params:,} | {pruned.nonzero:,} |" in cells["net-fanout-0.6"]
    assert f"| {record.params:,} | {record.params:,} |" in cells["net"]


@pytest.mark.usefixtures("run")
def test_a_run_that_began_pruned_is_no_seed_of_one_that_did_not(place, capsys):
    """Both are of one method; the table tells them apart by how the start was pruned."""
    cli(capsys, "prune", SEEDS)
    cli(capsys, "evaluate", SEEDS, "--limit", "20")
    record = read_record(place / SEEDS / "evaluation.json")
    pruned = replace(read_stored(place / "runs/net-magnitude-0.5/seed3").card.pruned, method="net")
    named = [replace(record, run=RUN, pruned=start) for start in (None, pruned)]
    for place_of, one in zip(("a", "b"), named, strict=True):
        (place / "records" / place_of).mkdir(parents=True)
        write_record(place / "records" / place_of / "evaluation.json", replace(one, digest=""))
    assert sorted(stored.name for stored in load_records([place / "records"])) == ["ard", "net-magnitude-0.5-then-ard"]
