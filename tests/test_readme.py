"""README says what is true: its commands parse, its links lead somewhere, its tables are those of the records."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ard.arguments import build, parse
from ard.data import DataModule
from ard.models import Frozen, Network
from ard.objectives.rslad import RSLAD
from scripts.tables import DOCUMENTS, rewritten

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
RUNS = ("fit", "doctor")
COMMANDS = [
    shlex.split(line, comments=True)
    for kind, block in BLOCKS
    if kind == "bash"
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (8, 8)).save(folder / f"{index}.png")
    return tmp_path / "images"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "ard" and c[1] in RUNS], ids=" ".join)
def test_fit_commands_parse_and_their_parts_can_be_built(command, image_folder, monkeypatch):
    from ard.cli import rehearse

    monkeypatch.chdir(ROOT)
    rehearse(["fit", *(str(image_folder) if word == "my/images" else word for word in command[2:])])


def test_the_other_commands_name_verbs_scripts_and_files_that_exist():
    from ard.__main__ import COMMANDS as VERBS

    for command in COMMANDS:
        if command[0].startswith("./"):
            assert (ROOT / command[0]).is_file()
        elif command[0] == "ard" and command[1] not in RUNS:
            assert parse(command[1], VERBS[command[1]], command[2:])
    for study in re.findall(r"ard study (\S+?)`", README):
        assert (ROOT / study).is_file(), study


def test_every_option_of_the_table_is_accepted(monkeypatch):
    from ard.cli import rehearse

    monkeypatch.chdir(ROOT)
    base = ["fit", "-c", "configs/digits.yaml", "-c", "configs/objectives/pgd_at.yaml"]
    options = re.findall(r"^\|[^|]+\| `(--\S+ \S+?)`", README, re.MULTILINE)
    assert len(options) >= 4
    for option in options:
        if "Logger" not in option:
            rehearse([*base, *option.split()])


def test_every_name_in_the_table_is_a_recipe_and_the_next_table_has_them_all():
    """A recipe without a row is no failure: whoever adds a method touches no document."""
    recipes = {path.stem for path in (ROOT / "configs/objectives").glob("*.yaml") if "as-released" not in path.stem}
    assert {"ard", "rslad"} <= named(README) <= recipes
    assert named(rewritten(README, grow=True)) == recipes


def named(text):
    return set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))


def test_the_yaml_examples_build():
    for kind, block in BLOCKS:
        if kind == "yaml":
            (key, section), *_ = yaml.safe_load(block).items()
            build({"student": Network, "teacher": Frozen, "data": DataModule}[key], section)


def test_the_method_shown_is_the_method_shipped():
    """The excerpt computes what ard/objectives/rslad.py computes."""
    import torch

    from ard.losses import kl
    from ard.objectives.base import Objective

    source = next(block for kind, block in BLOCKS if kind == "python")
    names = {"Objective": Objective, "kl": kl}
    exec(source, names)
    torch.manual_seed(0)
    student, teacher = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)) for _ in range(2))
    x, x_adv, y = torch.rand(5, 3, 2, 2), torch.rand(5, 3, 2, 2), torch.zeros(5)
    shown, shipped = names["RSLAD"]()(student, teacher, x, y), RSLAD()(student, teacher, x, y)
    assert torch.allclose(shown[0](x_adv), shipped[0](x_adv))
    assert torch.allclose(sum(shown[1](x_adv).values()), sum(shipped[1](x_adv).values()))


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_are_those_of_records_and_code(document):
    text = document.read_text()
    assert "<!-- table" in text
    assert rewritten(text, document.parent) == text


def test_a_number_typed_by_hand_would_be_noticed():
    cells = re.findall(r"\| \d\d\.\d ", README)
    if not cells:
        pytest.skip("no tables yet")
    tampered = README.replace(cells[0], "| 99.9 ", 1)
    assert tampered != README
    assert rewritten(tampered) == README
