"""Names in strings and folders on disk: what no import statement would miss after a move."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parents[2]
DOTTED = re.compile(r"(?<![\w./-])ard(?:\.\w+)+")
WRONG = {  # misspelt, foreign or yet to be written, on purpose: tests ask what is said about them
    "ard.attacks.MIFGSM",
    "ard.attacks.PDG",
    "ard.data.Digit",
    "ard.data.base.os.system",
    "ard.data.canary.Data",
    "ard.data.os.system",
    "ard.data.FashionMNIST",
    "ard.data.helper.Data",
    "ard.models.Resnet",
    "ard.models._secret",
    "ard.models.nn.Linear",
    "ard.models.recorded",
    "ard.modelsevil.ResNet",
    "ard.objectives.pgd_at.PGDA",
    "ard.seed0.evaluation.json",  # a file, as is
    "ard.yaml",
}


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text: the string constants of Python, docstrings too, and every line of other files."""
    if path.suffix != ".py":
        yield from enumerate(path.read_text().splitlines(), 1)
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@cache
def dotted_names() -> dict[str, str]:
    """Every `ard.…` in code, configs and pages, and where it stands first."""
    files = [path for folder in ("ard", "scripts", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
    files += [*sorted((ROOT / "configs").rglob("*.yaml")), *sorted((ROOT / "docs").glob("*.md"))]
    files += [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / "README.md", ROOT / "pyproject.toml"]
    found: dict[str, str] = {}
    for path in files:
        for line, text in strings(path) if path != Path(__file__) else ():
            for name in DOTTED.findall(text):
                found.setdefault(name, f"{path.relative_to(ROOT)}:{line}")
    return found


def resolves(name: str) -> bool:
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_every_dotted_name_in_a_string_is_one_that_there_is():
    found = dotted_names()
    assert len(found) > 100
    assert {name: place for name, place in found.items() if name not in WRONG and not resolves(name)} == {}


def test_names_that_are_wrong_on_purpose_are_still_asked_about_and_still_wrong():
    assert set(dotted_names()) >= WRONG
    assert [name for name in WRONG if resolves(name)] == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("patch('ard.study.job.Job._process')", ["ard.study.job.Job._process"]),
        ("class_path: ard.data.Digits,", ["ard.data.Digits"]),
        ("see https://ard.example.org, ./ard.txt and board.attacks", []),
    ],
)
def test_what_counts_as_a_dotted_name(text, names):
    assert DOTTED.findall(text) == names


def test_every_folder_of_the_package_is_a_package():
    """One without `__init__.py` is left out of the wheel; an old one that holds bytecode alone can still be imported."""
    folders = {path.parent for kind in ("*.py", "*.pyc") for path in (ROOT / "ard").rglob(kind)}
    folders = {folder.parent if folder.name == "__pycache__" else folder for folder in folders}
    lacking = [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").is_file()]
    assert lacking == [], "add an __init__.py, or remove the folder where nothing but __pycache__ is left"
    assert len(folders) > 10
