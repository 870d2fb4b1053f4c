"""README says what is true: its commands parse, its links lead somewhere, its tables are those of the records."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from PIL import Image

from ard.cli.parsing import parse
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

FILES = {block.split()[1]: block for kind, block in BLOCKS if kind == "yaml" and block.startswith("# ")}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a user works: the repository's configs, and the files that README shows."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    return tmp_path


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
def test_fit_commands_parse_and_their_parts_can_be_built(command, image_folder, place, monkeypatch):
    from ard.cli.lightning import resolve_config

    monkeypatch.chdir(place)
    resolve_config(["fit", *(str(image_folder) if word == "my/images" else word for word in command[2:])])


def test_the_other_commands_name_verbs_scripts_and_files_that_exist():
    from ard.commands import VERBS

    for command in COMMANDS:
        if command[0].startswith("./"):
            assert (ROOT / command[0]).is_file()
        elif command[0] == "ard" and command[1] not in RUNS:
            verb = VERBS[command[1]]
            function = getattr(import_module(f"ard.commands.{verb.module}"), verb.function)
            assert parse(command[1], function, command[2:])
    for study in re.findall(r"ard study (\S+?)`", README):
        assert (ROOT / study).is_file(), study


def test_every_option_of_the_table_is_accepted(monkeypatch):
    from ard.cli.lightning import resolve_config

    monkeypatch.chdir(ROOT)
    base = ["fit", "-c", "configs/digits.yaml", "-c", "configs/objectives/pgd_at.yaml"]
    options = re.findall(r"^\|[^|]+\| `(--\S+ \S+?)`", README, re.MULTILINE)
    assert len(options) >= 4
    for option in options:
        if "Logger" not in option:
            resolve_config([*base, *option.split()])


def test_every_name_in_the_table_is_a_recipe_and_the_next_table_has_them_all():
    """A recipe without a row is no failure: whoever adds a method touches no document."""
    recipes = {path.stem for path in (ROOT / "configs/objectives").glob("*.yaml") if "as-released" not in path.stem}
    assert {"ard", "rslad"} <= named(README) <= recipes
    assert named(rewritten(README, grow=True)) == recipes


def named(text):
    return set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))


SHOWN = {"student.yaml": ("student", "mean"), "teacher.yaml": ("teacher", "weights"), "mixed.yaml": ("data", "fraction")}


@pytest.mark.parametrize("file", FILES)
def test_a_yaml_file_that_is_shown_arrives_by_the_command_below_it(file, place, monkeypatch):
    """A key in the wrong place is refused, or does nothing."""
    from ard.cli.lightning import resolve_config

    monkeypatch.chdir(place)
    (command,) = [command for command in COMMANDS if file in command]
    key, option = SHOWN[file]
    resolved, written = (
        tree["data"] if key == "data" else tree["model"]["init_args"][key]
        for tree in (resolve_config(command[1:]), yaml.safe_load(FILES[file]))
    )
    assert resolved["class_path"] == written["class_path"]
    assert resolved["init_args"][option] == written["init_args"][option]


def test_the_default_folder_is_the_one_that_is_told(place, monkeypatch):
    from ard.cli.lightning import resolve_config

    monkeypatch.chdir(place)
    assert "checkpoints/<base>/<recipe>/seed<k>" in README
    resolved = resolve_config(
        ["fit", "-c", "configs/digits.yaml", "-c", "configs/objectives/pgd_at.yaml", "--seed_everything=2"]
    )
    assert resolved["trainer"]["default_root_dir"] == "checkpoints/digits/pgd_at/seed2"


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
