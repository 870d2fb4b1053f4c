"""The documents say what is true: commands parse, links lead somewhere, tables are those of the records, examples run."""

import ast
import re
import shlex
import sys
import textwrap
from functools import reduce
from importlib import import_module
from operator import getitem
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from fault_cases import CASES
from PIL import Image

from ard.cli.parsing import parse
from ard.objectives.rslad import RSLAD
from scripts.tables import DOCUMENTS, rewritten

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "checkpoints/README.md")]
PAGES += [*sorted((ROOT / "docs").glob("*.md")), ROOT / "docs" / "results" / "README.md"]
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
README, METHODS = TEXTS["README.md"], TEXTS["docs/methods.md"]
BLOCKS = [block for text in TEXTS.values() for block in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)]
RUNS = ("fit", "doctor")
OTHER_PROGRAMS = {"source", "pip"}


def commands():
    """Every command of every shell block, once, as words."""
    lines = [line for kind, block in BLOCKS if kind == "bash" for line in block.replace("\\\n", " ").splitlines()]
    words = [tuple(shlex.split(line.partition(" > ")[0], comments=True)) for line in lines]
    return [list(command) for command in dict.fromkeys(words) if command]


COMMANDS = commands()
PYTHON = [block for kind, block in BLOCKS if kind == "python"]


def files(kind):
    """The files of a user's folder that the documents show; a path is one of ours, see test_extension.py."""
    blocks = [block for of_kind, block in BLOCKS if of_kind == kind]
    return {found[1]: block for block in blocks if (found := re.match(r"# ([\w.]+)\n", block))}


FILES, MODULES = files("yaml"), files("python")
WIDE_RESNET = """
class WideResNet(Ours):
    def __init__(self, depth=34, num_classes=10, widen_factor=10):
        super().__init__(depth=depth, num_classes=num_classes, widen=widen_factor)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user works: the repository's configs, and the files that the documents show."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "mine.yaml").symlink_to(ROOT / "configs/methods/rslad.yaml")  # `ard config methods/rslad > mine.yaml`
    for name, content in (FILES | MODULES).items():
        (tmp_path / name).write_text(content)
    (tmp_path / "wideresnet.py").write_text("from ard.models import WideResNet as Ours\n" + WIDE_RESNET)  # somebody else's
    for name in (*MODULES, "wideresnet.py"):
        monkeypatch.delitem(sys.modules, Path(name).stem, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
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


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "ard" and c[1] in RUNS and c[2:]], ids=" ".join)
def test_fit_commands_parse_and_their_parts_can_be_built(command, image_folder, place, monkeypatch):
    from torchvision.models import get_model

    from ard.cli.lightning import resolve_config

    monkeypatch.chdir(place)
    monkeypatch.setattr("ard.models.wrappers._downloaded", lambda name: get_model(name).state_dict())
    words = " ".join(command[2:]).replace("--resume auto", "").split()  # `ard fit takes it out first
    resolve_config(["fit", *(str(image_folder) if word in ("my/images", "my/photos") else word for word in words)])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] != "ard" or c[1] not in RUNS], ids=" ".join)
def test_the_other_commands_name_verbs_scripts_and_files_that_exist(command):
    from ard.commands import VERBS

    program = command[0].removeprefix("./")
    if program == "ard":
        verb = VERBS[command[1]]
        function = getattr(import_module(f"ard.commands.{verb.module}"), verb.function)
        assert function(command[1:]) == 0 if verb.raw else parse(command[1], function, command[2:])
    elif program.startswith("scripts/"):
        assert (ROOT / program).is_file()
    else:
        assert program in OTHER_PROGRAMS or program.startswith(".venv/bin/")
    assert [word for word in command[1:] if word.startswith("configs/") and not (ROOT / word).is_file()] == []


def test_every_option_of_the_table_is_accepted(monkeypatch):
    from ard.cli.lightning import resolve_config

    monkeypatch.chdir(ROOT)
    base = ["fit", "-c", "configs/digits.yaml", "-c", "configs/methods/pgd_at.yaml"]
    options = re.findall(r"^\|[^|]+\|[^|]*?`(--\S+ \S+?)`", TEXTS["docs/training.md"], re.MULTILINE)
    assert len(options) >= 8
    resolve_config([*base, *" ".join(options).split()])  # those of today go together


def test_every_name_in_the_table_is_a_recipe_and_the_next_table_has_them_all():
    """A recipe without a row is no failure: whoever adds a method touches no document."""
    recipes = {path.stem for path in (ROOT / "configs/methods").glob("*.yaml") if "as-released" not in path.stem}
    assert {"ard", "rslad"} <= named(METHODS) <= recipes
    assert named(rewritten(METHODS, ROOT / "docs", grow=True)) == recipes


def named(text):
    """The recipes that the table of methods has a row for."""
    return set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))


SHOWN = {
    "student.yaml": ("student", "mean"),
    "teacher.yaml": ("teacher", "weights"),
    "mixed.yaml": ("data", "fraction"),
    "around.yaml": ("objective", "ratio"),
    "optimiser.yaml": ("training.optimizer", "betas"),
}


@pytest.mark.parametrize("file", FILES)
def test_a_yaml_file_that_is_shown_arrives_by_the_command_below_it(file, place, monkeypatch):
    """A key in the wrong place is refused, or does nothing."""
    from ard.cli.lightning import resolve_config

    monkeypatch.chdir(place)
    (command,) = [command for command in COMMANDS if file in command]
    key, option = SHOWN[file]
    resolved, written = (
        tree["data"] if key == "data" else reduce(getitem, key.split("."), tree["model"]["init_args"])
        for tree in (resolve_config(command[1:]), yaml.safe_load(FILES[file]))
    )
    assert resolved["class_path"] == written["class_path"]
    assert resolved["init_args"][option] == written["init_args"][option]


def test_the_default_folder_is_the_one_that_is_told(place, monkeypatch):
    from ard.cli.lightning import resolve_config

    monkeypatch.chdir(place)
    assert "checkpoints/<base>/<method>/seed<k>" in TEXTS["docs/training.md"]
    resolved = resolve_config(
        ["fit", "-c", "configs/digits.yaml", "-c", "configs/methods/pgd_at.yaml", "--seed_everything=2"]
    )
    assert resolved["trainer"]["default_root_dir"] == "checkpoints/digits/pgd_at/seed2"


@pytest.mark.parametrize("source", PYTHON, ids=lambda source: source.splitlines()[0])
def test_python_that_is_shown_is_python(source):
    assert ast.parse(textwrap.dedent(re.sub(r"\A#.*\n", "", source))).body


def example(name, **names):
    """The class that a document shows, made from its source."""
    (source,) = [source for source in PYTHON if f"class {name}(" in source]
    exec(source, names)
    return names[name]


def test_the_method_shown_is_the_method_shipped():
    """The excerpt computes what ard/objectives/rslad.py computes."""
    from ard.losses import kl
    from ard.objectives.base import Objective

    shown = example("RSLAD", Objective=Objective, kl=kl)()
    torch.manual_seed(0)
    student, teacher = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)) for _ in range(2))
    x, x_adv, y = torch.rand(5, 3, 2, 2), torch.rand(5, 3, 2, 2), torch.zeros(5)
    found, shipped = shown(student, teacher, x, y), RSLAD()(student, teacher, x, y)
    assert torch.allclose(found[0](x_adv), shipped[0](x_adv))
    assert torch.allclose(sum(found[1](x_adv).values()), sum(shipped[1](x_adv).values()))


def test_the_architecture_shown_answers_with_logits():
    network = example("SmallCNN")(num_classes=7, in_channels=1, width=4)
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 7)


def test_the_data_set_shown_splits_and_loads(monkeypatch):
    def source(root, *, train, download):  # noqa: ARG001
        count = 60 if train else 20
        return SimpleNamespace(data=torch.zeros(count, 28, 28, dtype=torch.uint8), targets=torch.arange(count) % 10)

    monkeypatch.setattr("torchvision.datasets.FashionMNIST", source)
    data = example("FashionMNIST")(batch_size=8, val_size=10)
    assert [len(split) for split in data.splits] == [50, 10]
    assert len(data.test_images()) == 20
    assert data.num_classes == 10


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    """Relative to the page, to a file that exists and, where one is named, to a heading in it."""
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]+)?\)", TEXTS[page]):
        if link.startswith("http"):
            continue
        target = (ROOT / page).parent / link if link else ROOT / page
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor[1:] in anchors(target.read_text()), f"{page}: {link}{anchor}"


def anchors(text):
    """The names that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_reached_from_readme():
    seen, left = set(), ["README.md"]
    while left:
        page = left.pop()
        seen.add(page)
        for link in re.findall(r"\]\(([^)#\s]+\.md)(?:#[^)\s]+)?\)", TEXTS.get(page, "")):
            target = ((ROOT / page).parent / link).resolve()
            left += [name] if (name := str(target.relative_to(ROOT))) not in seen else []
    assert set(TEXTS) <= seen


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_the_tables_are_those_of_records_and_code(document):
    text = document.read_text()
    assert "<!-- table" in text
    assert rewritten(text, document.parent) == text


def test_a_number_typed_by_hand_would_be_noticed():
    cells = re.findall(r"\| \d\d\.\d ", README)
    tampered = README.replace(cells[0], "| 99.9 ", 1)
    assert tampered != README
    assert rewritten(tampered) == README


def test_counts_in_words_are_those_of_the_code():
    from ard.evaluation.checks import CHECKS

    text = " ".join("\n".join(TEXTS.values()).split())
    assert set(re.findall(r"(\d+) (?:soundness )?checks of the attacks", text)) == {str(len(CHECKS))}
    quick, standard = (sum(suite in check.suites for check in CHECKS.values()) for suite in ("quick", "standard"))
    assert f"({quick} of them in the suite `quick`, {standard} in `standard`)" in text
    assert f"`quick` runs {quick} and `standard` {standard} " in text
    assert set(re.findall(r"(\d+) (?:things that go wrong|such cases)", text)) == {str(len(CASES))}
