"""ard.report.model_card: metadata as Hugging Face reads it, with the record's numbers; none that failed a check."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy.stats import binomtest
from small_records import dataset, first, full_record, unreliable, write, write_study
from test_report_card import EXPLAINED

from ard.__main__ import main
from ard.artifacts.paths import RecordFiles
from ard.artifacts.record_file import read_record
from ard.artifacts.record_parts import RunInfo
from ard.report.evidence_card import evidence_card
from ard.report.model_card import model_card
from ard.report.robustbench import robustbench_entry

# the keys that huggingface_hub 2.4 knows: its ModelCardData, EvalResult and model_index_to_eval_results
TASK, DATASET, METRIC = {"type", "name"}, {"type", "name", "split", "args"}, {"type", "name", "value", "args"}
RUN = RunInfo(study=None, method="rslad", role="student", checkpoint="best", seed=0, swept={}, teachers={})


def parts(card: str) -> tuple[dict[str, Any], str]:
    """The metadata and the text, as huggingface_hub tells them apart."""
    front = re.match(r"\s*---[\r\n]+([\S\s]*?)[\r\n]+---(\r\n|\n|$)", card)
    assert front is not None
    return yaml.safe_load(front[1]), card[front.end() :]


def metrics(card: str) -> dict[str, float]:
    (index,) = parts(card)[0]["model-index"]
    (result,) = index["results"]
    return {metric["name"]: metric["value"] for metric in result["metrics"]}


def test_the_metadata_is_a_model_index_with_the_numbers_of_the_record() -> None:
    front, text = parts(model_card(full_record(run=RUN)))
    (index,) = front["model-index"]
    (result,) = index["results"]
    assert index["name"] == "WideResNet-34-20-rslad"
    assert front["pipeline_tag"] == result["task"]["type"] == "image-classification"
    assert (set(result), set(result["task"])) == ({"task", "dataset", "metrics"}, TASK)
    assert (result["dataset"]["type"], result["dataset"]["name"], result["dataset"]["split"]) == (
        "cifar10",
        "CIFAR-10",
        "test",
    )
    assert result["dataset"]["args"] == {"images": 10000, "digest": "0123456789abcdef"}
    assert set(result["dataset"]) == DATASET
    assert metrics(model_card(full_record())) == {
        "Clean accuracy": 0.8534,
        "Robust accuracy, Linf 8/255, worst case over all attacks": 0.5317,
        "Robust accuracy, Linf 8/255, AutoAttack": 0.5342,
    }
    worst = result["metrics"][1]
    interval = binomtest(5317, 10000).proportion_ci(0.95, method="wilson")
    assert all(set(metric) == METRIC and metric["type"] == "accuracy" for metric in result["metrics"])
    assert worst["args"]["interval_95"] == pytest.approx([interval.low, interval.high], abs=1e-6)
    assert {key: worst["args"][key] for key in ("norm", "suite", "verdict")} == {
        "norm": "Linf",
        "suite": "full",
        "verdict": "sound",
    }
    assert text.strip().startswith("# WideResNet-34-20 on CIFAR-10")


def test_the_text_is_the_evidence_card_and_how_to_use_the_weights() -> None:
    record = full_record()
    text = parts(model_card(record))[1]
    assert evidence_card(record) in text
    assert 'ard.load("student.safetensors")' in text


def test_an_unreliable_record_gives_no_number_after_an_attack() -> None:
    record = unreliable()
    card = model_card(record)
    assert metrics(card) == {"Clean accuracy": 0.8534}
    assert "unreliable" in parts(card)[0]["tags"]
    assert EXPLAINED in card
    for number in ("0.5317", "53.2", "53.17", "0.5342", "53.4"):
        assert number not in card


def test_without_autoattack_there_is_no_number_of_it() -> None:
    assert list(metrics(model_card(full_record(autoattack_acc=None)))) == [
        "Clean accuracy",
        "Robust accuracy, Linf 8/255, worst case over all attacks",
    ]


def test_a_tag_says_that_it_was_distilled() -> None:
    assert parts(model_card(full_record()))[0]["tags"] == ["adversarial-robustness", "robust-distillation"]
    assert parts(model_card(full_record(teacher=None)))[0]["tags"] == ["adversarial-robustness"]


def test_odd_names_stay_data() -> None:
    record = full_record(dataset=dataset("a: [b]\n---\n# c"), weights={"path": 'x/"); import os #\n.pt', "sha256": "a" * 64})
    front, text = parts(model_card(record, "- x: 1"))
    (index,) = front["model-index"]
    assert index["name"] == "- x: 1"
    assert index["results"][0]["dataset"]["name"] == "a: [b] --- # c"  # a name is one line
    assert 'ard.load("\\"); import os #\\n.pt")' in text


def test_a_model_may_be_named() -> None:
    assert parts(model_card(replace(full_record(), run=RUN), "mine"))[0]["model-index"][0]["name"] == "mine"


def test_the_command_writes_one_beside_every_record_and_the_entry_anew(tmp_path: Path, capsys: Any) -> None:
    study = write_study(tmp_path / "study")
    assert main(["report", str(study), "--model-card"]) == 0
    said = capsys.readouterr().out
    records = sorted(study.rglob("*evaluation.json"))
    assert len(records) == 4
    for path in records:
        record, files = read_record(path), RecordFiles(path)
        assert f"{files.model_card}\n" in said
        assert files.model_card.read_text() == model_card(record)
        assert json.loads(files.robustbench.read_text()) == robustbench_entry(record)
    assert parts((study / "ard/seed0/last.evaluation.model_card.md").read_text())[0]["model-index"][0]["name"].endswith(
        "-last"
    )
    without = write_study(tmp_path / "without")
    assert main(["report", str(without)]) == 0
    assert not list(without.rglob("*.model_card.md"))


def test_nothing_is_written_where_no_record_is_of_the_weights_beside_it(tmp_path: Path, capsys: Any) -> None:
    write(tmp_path / "run/evaluation.json", first(0.9), first(0.5))
    (tmp_path / "run/student.safetensors").write_bytes(b"others")
    assert main(["report", str(tmp_path / "run"), "--model-card"]) == 2
    assert "is of other weights than those beside it" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"evaluation.json", "student.safetensors"}
