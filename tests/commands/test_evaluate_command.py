"""`ard evaluate`: weights in, a record beside them, its provenance, and an exit status that follows the verdict."""

import hashlib
import json
import resource
import subprocess
import sys
from dataclasses import fields

import pytest
import torch
from scipy.stats import binomtest
from small_runs import CARD, DATA, NETWORK, cli, files_below, trained, write_weights, write_yaml

from ard.core.bits import unpack
from ard.data import Digits
from ard.evaluation import evaluation
from ard.evaluation.request import Request

SAME = "the network of student.safetensors, bit for bit, whose attacks were not run again"

pytestmark = pytest.mark.usefixtures("short_attacks")


def record_of(path):
    return json.loads(path.read_text())


def test_a_record_says_what_was_measured_and_on_what(place, capsys):
    weights = write_weights(place / "runs" / "student.safetensors")
    status, out, err = cli(capsys, "evaluate", weights)
    record = record_of(place / "runs" / "evaluation.json")
    images = Digits().test_images()
    digest = hashlib.sha256(images.pixels.numpy().tobytes() + images.labels.numpy().tobytes()).hexdigest()[:16]
    assert (status, err) == (0, "")
    assert record["weights"] == {
        "path": "runs/student.safetensors",
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    assert record["dataset"] == {"name": "Digits", **DATA, "digest": digest}
    assert record["model"] == {"class_path": "ard.models.ResNet", "init_args": NETWORK}
    assert (record["split"], record["limit"], record["suite"], record["n"]) == ("test", None, "quick", 400)
    assert record["threat"] == {"norm": "Linf", "eps": 0.1}
    card = json.loads(json.dumps({key: record[key] for key in ("recipe", "teacher", "training")}))
    assert (card["teacher"], card["training"]["config_digest"]) == ("ab" * 32, "cd" * 8)
    assert card["recipe"]["class_path"] == "ard.objectives.pgd_at.PGDAT"
    assert [row["class"] for row in record["per_class"]] == list("0123456789")
    low, high = binomtest(round(400 * record["robust_acc"]), 400).proportion_ci(0.95, method="wilson")
    words = "no check failed; quick look, AutoAttack not run: an upper bound"
    assert f"worst case {100 * record['robust_acc']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]  ({words})" in out
    assert record["verdict"] == "upper bound"
    evidence = [f"runs/evaluation.{kind}" for kind in ("json", "md", "robustbench.json", "shown.safetensors")]
    assert files_below(place) == [*evidence, "runs/student.safetensors"]


def test_weights_elsewhere_are_named_without_their_place(place, capsys, monkeypatch):
    weights = write_weights(place / "elsewhere" / "last.safetensors")
    (place / "here").mkdir()
    monkeypatch.chdir(place / "here")
    assert cli(capsys, "evaluate", weights, "--limit", 20)[0] == 0
    text = (place / "elsewhere" / "last.evaluation.json").read_text()
    assert json.loads(text)["weights"]["path"] == "last.safetensors"
    assert str(place) not in text


def test_a_runs_folder_stands_for_its_student(place, capsys):
    write_weights(place / "runs" / "student.safetensors")
    assert cli(capsys, "evaluate", "runs/", "--limit", 20)[0] == 0
    assert record_of(place / "runs" / "evaluation.json")["weights"]["path"] == "runs/student.safetensors"
    named = Request(teacher="runs", undefended="runs", transfer="runs, b.pt").with_files()
    files = (named.teacher, named.undefended, named.transfer)
    assert files == ("runs/student.safetensors", "runs/student.safetensors", "runs/student.safetensors,b.pt")


def test_a_limit_takes_equally_many_of_each_class(place, capsys):
    weights = write_weights(place / "student.safetensors")
    assert cli(capsys, "evaluate", weights, "--limit", 50)[0] == 0
    record = record_of(place / "evaluation.json")
    assert (record["n"], record["limit"]) == (50, 50)
    assert {row["n"] for row in record["per_class"]} == {5}


def test_options_win_over_the_card_and_an_old_record_is_replaced(place, capsys):
    weights = write_weights(place / "student.safetensors")
    (place / "evaluation.json").write_text("old")
    with pytest.warns(UserWarning, match="L2 eps 8/255 is as good as none"):
        said = cli(capsys, "evaluate", weights, "--eps", "8/255", "--norm", "L2", "--split", "val", "--seed", 3)[1]
    assert "Digits val, n = 200, L2 8/255" in said
    record = record_of(place / "evaluation.json")
    assert record["threat"] == {"norm": "L2", "eps": 8 / 255}
    assert [note for note in record["notes"] if "L2 eps 8/255 is as good as none" in note]
    assert (record["split"], record["n"], record["seed"]) == ("val", 200, 3)
    images, labels = Digits().splits[1].__getitems__(list(range(200)))
    clean = trained()(images / 255).argmax(1) == labels
    assert (unpack(record["bits"]["clean"], 200) == clean.numpy()).all()


def test_test_is_the_quick_suite(place, capsys):
    weights = write_weights(place / "student.safetensors")
    assert cli(capsys, "test", weights, "--limit", 20)[0] == 0
    assert record_of(place / "evaluation.json")["suite"] == "quick"


def test_the_status_is_that_of_the_worst_verdict(place, capsys, monkeypatch):
    for name in "aubc":
        (place / name).touch()
    verdicts = {"a": "sound", "u": "upper bound", "b": "warnings", "c": "unreliable"}
    monkeypatch.setattr("ard.commands.evaluate_file.evaluate_file", lambda path, *_: verdicts[str(path)])
    assert [cli(capsys, "evaluate", *files)[0] for files in ("a", "au", "ab", "acb")] == [0, 0, 3, 4]


def test_what_is_unreliable_ends_with_status_4_and_says_why(place, foreign, capsys):
    network = write_yaml(place / "probabilities.yaml", {"class_path": "small_runs.Probabilities"})
    torch.save({f"network.{key}": value for key, value in trained().state_dict().items()}, place / "soft.pt")
    status, out, _ = cli(capsys, "evaluate", "soft.pt", *flat({**foreign, "--network": network, "--limit": 20}))
    assert status == 4
    assert "UNRELIABLE: M3" in out
    assert record_of(place / "soft.evaluation.json")["verdict"] == "unreliable"


def flat(options):
    return [part for option in options.items() for part in option]


def test_a_plain_state_dict_needs_to_be_told_what_it_is(place, foreign, capsys):
    assert cli(capsys, "evaluate", "plain.pt", *flat(foreign), "--limit", 20)[0] == 0
    record = record_of(place / "plain.evaluation.json")
    assert record["model"]["class_path"].endswith("ResNet")
    assert (record["recipe"], record["teacher"], record["training"]) == (None, None, None)


def test_several_files_are_evaluated_in_one_go(place, capsys):
    files = [write_weights(place / f"{name}.safetensors") for name in ("student", "last")]
    status, out, _ = cli(capsys, "evaluate", *files, "--limit", 20)
    assert status == 0
    assert sorted(file.name for file in place.glob("*evaluation.json")) == ["evaluation.json", "last.evaluation.json"]
    assert out.count("worst case") == 2


@pytest.mark.parametrize(("other", "runs"), [("epoch", 1), ("network", 2), ("arguments", 2)])
def test_files_that_hold_one_network_are_attacked_once_and_recorded_each_for_itself(place, capsys, monkeypatch, other, runs):
    attacked, attack = [], evaluation.judge_block
    monkeypatch.setattr(evaluation, "judge_block", lambda *args, **options: attacked.append(0) or attack(*args, **options))
    net, changes = trained(), {}
    if other == "epoch":
        changes = {"training": {**CARD["training"], "epoch": 7}}
    elif other == "network":  # by one bit
        net.head.bias.data[0] = torch.nextafter(net.head.bias.data[0], torch.tensor(9.0))
    else:  # the same tensors, which another network reads
        changes = {"init_args": {**NETWORK, "stem_stride": 2}}
    files = [write_weights(place / "student.safetensors"), write_weights(place / "last.safetensors", net, **changes)]
    assert cli(capsys, "evaluate", *files, "--limit", 20)[0] in (0, 3)
    assert len(attacked) == runs
    record = record_of(place / "last.evaluation.json")
    assert record["weights"]["sha256"] == hashlib.sha256(files[1].read_bytes()).hexdigest()
    assert cli(capsys, "evaluate", files[1], "--limit", 20, "--replace")[0] in (0, 3)
    alone = record_of(place / "last.evaluation.json")
    assert len(attacked) == runs + 1
    assert (record["bits"], record["checks"], record["training"]) == (alone["bits"], alone["checks"], alone["training"])
    assert [note for note in record["notes"] if note not in alone["notes"]] == [SAME] * (runs == 1)


def test_help_is_quick_and_names_every_option():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "ard", "evaluate", "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
    for option in ("WEIGHTS", *(f"--{field.name.replace('_', '-')}" for field in fields(Request))):
        assert option in done.stdout
