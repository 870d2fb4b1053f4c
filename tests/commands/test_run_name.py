"""ard.artifacts.run_name: which run weights are of, as a study, a lone run and a moved file say it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_runs import TRAINING, cli, write_weights

from ard.artifacts.card import Card
from ard.artifacts.facts import Recipe
from ard.artifacts.paths import RunFolder
from ard.artifacts.record_file import read_record
from ard.artifacts.record_parts import RunInfo
from ard.artifacts.run_name import RunName, method_of, read_run_name, run_of, write_run_name
from ard.artifacts.typed_json import written
from ard.cli.config_option import default_folder
from ard.configs.files import base_and_method

pytestmark = pytest.mark.usefixtures("short_attacks")

NAME = RunName(
    study="digits", method="ard", role="student", swept={"model.init_args.a": 0.5}, config_digest=TRAINING.config_digest
)
RECIPE = Recipe(
    engine="ard.Distillation",
    class_path="ard.objectives.mtard.MTARD",
    init_args={
        "base": {"init_args": {"other": {"class_path": "ard.models.Frozen", "init_args": {"sha256": "cd" * 32}}}},
        "natural_teacher": {"class_path": "ard.models.Frozen", "init_args": {"network": None, "sha256": "ef" * 32}},
    },
)


@pytest.mark.parametrize(
    ("configs", "folder", "method"),
    [
        (["configs/digits.yaml", "configs/methods/rslad.yaml"], "digits/rslad", "rslad"),
        (["configs/digits.yaml", "configs/methods/rslad.yaml", "faster.yaml"], "digits/rslad", "rslad"),
        (["configs/digits.yaml", "mixed.yaml", "configs/methods/rslad.yaml"], "digits/rslad", "rslad"),
        (["configs/digits.yaml", "faster.yaml", "mixed.yaml"], "digits/faster", "faster"),
        (["mine.yaml"], "mine", "mine"),
        (["x/config.yaml"], "config", "RSLAD"),
        ([], "fit", "RSLAD"),
    ],
)
def test_a_lone_run_is_named_for_its_base_and_its_recipe(configs, folder, method, tmp_path, monkeypatch):
    objective = "ard.objectives.rslad.RSLAD"
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    for own in ("mine.yaml", "x/config.yaml"):
        Path(own).write_text(f"model: {{init_args: {{objective: {objective}}}}}")
    Path("mixed.yaml").write_text("data: {class_path: ard.data.Mixed}")
    Path("faster.yaml").write_text("trainer: {max_epochs: 1}")
    assert default_folder(configs, 0) == f"checkpoints/{folder}/seed0"
    assert method_of(base_and_method(configs), objective) == method


def test_what_a_study_wrote_is_what_its_weights_are_of(tmp_path):
    write_run_name(RunFolder(tmp_path), NAME)
    card = Card(training=TRAINING, teacher="ab" * 32, recipe=RECIPE)
    places = {
        "teacher": "ab" * 32,
        "objective.init_args.base.init_args.other": "cd" * 32,
        "objective.init_args.natural_teacher": "ef" * 32,
    }
    best = RunInfo(
        study="digits",
        method="ard",
        role="student",
        checkpoint="best",
        seed=TRAINING.seed,
        swept={"model.init_args.a": 0.5},
        teachers=places,
    )
    assert run_of(tmp_path / "student.safetensors", card) == best
    last = replace(card, training=replace(TRAINING, selected_by="last epoch"))
    assert run_of(tmp_path / "last.safetensors", last) == replace(best, checkpoint="last")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"study": 1}', json.dumps({"config_digest": "cd" * 8})])
def test_without_a_whole_name_of_this_configuration_nothing_is_claimed(content, tmp_path):
    folder = RunFolder(tmp_path)
    if content is None:
        write_run_name(folder, replace(NAME, config_digest="another"))
    else:
        folder.name.write_text(content)
    assert read_run_name(folder, TRAINING.config_digest) is None
    assert run_of(tmp_path / "student.safetensors", Card(training=TRAINING)) is None


def test_a_name_with_one_wrong_bit_is_none_and_one_without_a_digest_is_read(tmp_path):
    folder = RunFolder(tmp_path)
    write_run_name(folder, NAME)
    content = folder.name.read_bytes()
    assert read_run_name(folder, TRAINING.config_digest) == NAME
    for place, byte in enumerate(content):
        if not chr(byte).isspace():
            folder.name.write_bytes(content[:place] + bytes([byte ^ 1]) + content[place + 1 :])
            assert read_run_name(folder, TRAINING.config_digest) is None
    folder.name.write_text(written(NAME))  # as earlier versions did
    assert read_run_name(folder, TRAINING.config_digest) == NAME


def test_a_lone_run_and_its_evaluation_name_recipe_teacher_and_configuration(command, tmp_path, capsys):
    from ard.training.config_digest import digest_of

    run = RunFolder(tmp_path / "anything")
    assert cli(capsys, *command(run.root, "ard", "--seed_everything=3"))[0] == 0
    assert cli(capsys, "evaluate", run.weights(), run.weights("last"), "--limit", 20)[0] in (0, 3)
    best, last = (read_record(path) for path in run.records)
    assert (best.run.study, best.run.method, best.run.role, best.run.seed) == (None, "ard", "student", 3)
    assert (best.run.checkpoint, last.run.checkpoint) == ("best", "last")
    assert best.run.teachers == {"teacher": best.teacher}
    assert digest_of(best.training.config) == best.training.config_digest
    status, out, _ = cli(capsys, "compare", run.root)
    assert status == 0
    assert "| ard (last) |" in out
    assert "anything" not in out.partition("Picture")[0]


def test_weights_alone_are_of_no_known_run_and_the_table_says_that_their_folder_named_them(place, capsys):
    weights = write_weights(place / "somewhere" / "student.safetensors")
    assert cli(capsys, "evaluate", weights, "--limit", 20)[0] == 0
    assert read_record(place / "somewhere" / "evaluation.json").run is None
    assert "Named by their folders, as their records do not say which run they are of: somewhere." in cli(
        capsys, "compare", place
    )[1].replace("\n", " ")
