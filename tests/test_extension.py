"""The examples of CONTRIBUTING.md, put into a copy of the tree: contracts find them, nothing else minds, commands run.

Whoever adds a method adds three files, an objective, its recipe and its oracle, and touches nothing else.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ard.artifacts.record_file import read_record

ROOT = Path(__file__).parents[1]
TREE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml", "ard", "configs", "docs", "scripts", "tests"]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"```(python|yaml|diff)\n# ([\w./]+)(, at the end)?\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    command
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    for command in re.findall(r"^\$ ard (.*)$", block.replace("\\\n", ""), re.MULTILINE)
]
RUNS = {  # of the commands; folder -> network, data
    "digits/logit_pairing/seed0": ("ard.models.MobileNetV2", "ard.data.Digits"),
    "small_cnn": ("small_cnn.SmallCNN", "ard.data.Digits"),
    "fashion/pgd_at/seed0": ("ard.models.ResNet", "ard.data.FashionMNIST"),
    "digits/pgd_at/seed0": ("ard.models.MobileNetV2", "ard.data.Digits"),
}
CONTRACTS = [
    "objectives/test_objectives.py::test_every_terms_gradient_is_right[LogitPairing]",
    "objectives/test_objectives.py::test_pickle_and_state_dict_give_the_same_objective[LogitPairing]",
    "objectives/test_oracles_logit_pairing.py::test_logit_pairing",
    "training/test_recipes.py::test_a_recipe_trains_and_costs_what_the_table_of_methods_says[logit_pairing]",
    "training/test_recipes.py::test_a_recipe_trains_in_an_l2_ball_too[logit_pairing]",
    "training/test_recipes.py::test_every_objective_has_a_recipe",
    "test_readme.py::test_the_tables_are_those_of_records_and_code[methods.md]",
    "models/test_models.py::test_pixels_in_logits_out[SmallCNN]",
    "data/test_data.py::test_splits_share_no_image_and_lose_none[FashionMNIST]",
    "attacks/test_attacks.py::test_result_is_within_reach_and_an_image[MIFGSM-L2]",
    "evaluation/test_zoo.py::test_what_is_broken_is_found_out[blind]",
    "evaluation/test_zoo.py::test_every_check_is_raised_by_a_subject",
]
TESTS = [f"tests/{name}" for name in dict.fromkeys(contract.partition("::")[0] for contract in CONTRACTS)]
TESTS += ["tests/test_architecture.py", "tests/training/test_precision.py"]
LAWS = "architecture and not even_through_others"  # an extension changes nobody's imports, and each is a process
NAMES = "LogitPairing or logit_pairing or SmallCNN or FashionMNIST or MIFGSM or blind or is_raised_by_a_subject"
CHOSEN = f"{NAMES} or ({LAWS}) or every_objective_has or costs_are or in_the_table or methods.md"
KEPT = ("docs/methods.md", "docs/results/costs.json")


def left_out(folder, names):
    """Of a copy of the tree: what Python compiled, and the thousands of records, which `copy` links."""
    results = Path(folder) == ROOT / "docs/results"
    return [name for name in names if name == "__pycache__" or (results and (Path(folder) / name).is_dir())]


@pytest.fixture
def copy(tmp_path):
    """The tree with the examples in it."""
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=left_out)
        else:
            shutil.copy(source, tmp_path / name)
    for study in filter(Path.is_dir, (ROOT / "docs/results").iterdir()):
        shutil.copytree(study, tmp_path / "docs/results" / study.name, copy_function=os.symlink)
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(ROOT / "checkpoints" / "README.md", tmp_path / "checkpoints")
    for kind, name, at_the_end, content in BLOCKS:
        file = tmp_path / name
        if kind == "diff":
            file.write_text(patched(file.read_text(), content, name))
        else:
            assert file.exists() == bool(at_the_end), name
            file.write_text(f"{file.read_text()}\n\n{content}" if at_the_end else content)
    shutil.copy(tmp_path / "small_cnn.py", tmp_path / "ard" / "models")
    return tmp_path


def patched(text, diff, name):
    """With the changes of each part of a diff, whose other lines must stand there once."""
    for part in diff.split("@@\n"):
        lines = part.splitlines()
        before, after = ("\n".join(line[1:] for line in lines if not line.startswith(sign)) for sign in "+-")
        assert text.count(before) == 1, f"{name} has this {text.count(before)} times:\n{before}"
        text = text.replace(before, after)
    return text


def run(place, *words):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    folders = [place, place / "scripts", place / "tests"]
    environment |= {"PYTHONPATH": os.pathsep.join(map(str, folders)), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=place, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_examples_of_contributing_are_all_it_takes(copy):
    """In one process: the contracts, the scripts that give the method its row, and then every command shown."""
    pytest.importorskip("pyautoattack")
    assert len(COMMANDS) >= 11
    linted = run(copy, "-m", "ruff", "check", *{name for _, name, _, _ in BLOCKS if name.endswith(".py")})
    assert linted.returncode == 0, linted.stdout
    words = ["-p", "no:cacheprovider", "-rA", *TESTS, "-k", CHOSEN]
    done = run(copy, "tests/extended.py", json.dumps({"pytest": words, "kept": KEPT, "commands": COMMANDS}))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    for contract in CONTRACTS:
        assert f"PASSED tests/{contract}" in done.stdout

    row = re.search(r"^\| `logit_pairing` \| (.*)\|$", (copy / "docs" / "methods.md").read_text(), re.MULTILINE)
    assert row is not None
    assert "Kannan et al. 2018 | CE(S(x'), y) | CE(S(x'), y) + λ ‖S(x) − S(x')‖² | 0 | student 12 F + 12 B |" in row[1]
    assert "oracle-tested" in row[1]
    evaluation = (copy / "docs" / "evaluation.md").read_text()
    assert "| M10 | different images, equal answers | warn | at most 1 % of the images" in evaluation

    records = {name: read_record(copy / "checkpoints" / name / "evaluation.json") for name in RUNS}
    assert [(r.model.class_path, r.dataset.class_path) for r in records.values()] == list(RUNS.values())
    assert [[check.verdict for check in r.checks if check.id == "M10"] for r in records.values()] == [["pass"]] * len(RUNS)
    config = yaml.safe_load((copy / "checkpoints/digits/pgd_at/seed0/config.yaml").read_text())
    assert config["model"]["init_args"]["attack"]["class_path"] == "ard.attacks.MIFGSM"
    assert "| params | MB |" in (copy / "compared" / "table.md").read_text()
    assert "\n  params " in done.stdout
    assert "student.safetensors: 7,606 numbers, ard.models.MobileNetV2" in done.stdout
