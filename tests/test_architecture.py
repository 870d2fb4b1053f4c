"""The import table of docs/architecture.md against the imports in the code, and rules a reviewer would forget."""

import ast
import inspect
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import tiny

import ard.attacks
from ard.attacks import Attack, Ball

ROOT = Path(__file__).parents[1]
FREE = {"ard", "ard.core.errors", "ard.core.randomness"}
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()


def modules():
    """Name -> syntax tree of every module of ard; a package goes by its own name."""
    files = sorted((ROOT / "ard").rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return {name: ast.parse(file.read_text()) for name, file in zip(names, files, strict=True)}


def statements(tree, *, at_import):
    """Every node; with `at_import`, only what runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if at_import and (typing_only or isinstance(node, ast.FunctionDef | ast.Lambda)):
            continue
        yield node
        yield from statements(node, at_import=at_import)


def imports(tree, known, *, at_import=False):
    """The names of the modules that are imported, `from ard import losses` as ard.losses, import_module("…") too."""
    for node in statements(tree, at_import=at_import):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def table():
    """Pattern -> what it may import, in the order of the document."""
    rows = re.findall(r"^\| `(ard[\w.*]*)` \| (.+) \|$", DOCUMENT, re.MULTILINE)
    return {row: {"*"} if cell == "everything" else set(re.findall(r"`(ard[\w.]*)`", cell)) for row, cell in rows}


def row_of(module, patterns):
    """The longest pattern that fits the module or a package it lies in."""
    parts = module.split(".")
    parents = [".".join(parts[:length]) for length in range(2, len(parts) + 1)] or [module]
    fits = [p for p in patterns if any(fnmatchcase(parent, p) or f"{parent}.*" == p for parent in parents)]
    return max(fits, key=len, default=None)


def is_within(name, package):
    return name == package or name.startswith(f"{package}.")


def violations(module, imported, rows):
    """What `module` imports of ard and its row does not allow."""
    row = row_of(module, rows)
    assert row is not None, f"{module} has no row in docs/architecture.md"
    allowed = rows[row]
    for name in imported:
        if not is_within(name, "ard") or name in FREE or "*" in allowed:
            continue
        same_row = row_of(name, rows) == row and not row.endswith(".*")
        if not same_row and not any(is_within(name, package) for package in allowed):
            yield f"{module} imports {name}"


MODULES = modules()


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_those_of_the_table(module):
    assert sorted(violations(module, imports(MODULES[module], MODULES), table())) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("ard.losses", "import ard.training.engine", "ard.training.engine"),
        ("ard.attacks.balls", "from ard import losses", "ard.losses"),
        ("ard.objectives.rslad", "from ard.objectives.kd import KD", "ard.objectives.kd"),
        ("ard.objectives.base", "def f():\n    from ard.attacks import PGD", "ard.attacks"),
        ("ard.evaluation.measurement", "from importlib import import_module\nimport_module('ard.data')", "ard.data"),
        ("ard.report.comparison", "if TYPE_CHECKING:\n    from ard.models import load", "ard.models"),
    ],
)
def test_a_forbidden_import_would_be_found(module, source, found):
    assert list(violations(module, imports(ast.parse(source), MODULES), table())) == [f"{module} imports {found}"]


def test_the_table_speaks_of_modules_that_exist():
    rows = table()
    assert len(rows) > 15
    assert [p for p in rows if not any(fnmatchcase(name, p) for name in MODULES)] == []
    assert [name for cell in rows.values() for name in cell - {"*"} if name not in MODULES] == []


def test_the_layout_lists_every_module_and_package():
    listed = set(re.findall(r"^      (\w+(?:\.py|/)) ", DOCUMENT, re.MULTILINE))
    folders = {f"{file.parent.name}/" for file in (ROOT / "ard").glob("*/__init__.py")}
    assert listed == folders | {file.name for file in (ROOT / "ard").glob("*.py")}


def test_no_module_needs_itself_to_be_imported():
    graph = {
        name: {other for other in imports(tree, MODULES, at_import=True) if other in MODULES} - FREE - {name}
        for name, tree in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError and names the circle


@pytest.mark.parametrize("module", ["ard.training.engine", "ard.training.distillation"])
def test_training_knows_no_particular_attack(module):
    particular = {kind.__name__ for parent in (Attack, Ball) for kind in tiny.concrete(ard.attacks, parent)}
    froms = [node for node in ast.walk(MODULES[module]) if isinstance(node, ast.ImportFrom)]
    assert {alias.name for node in froms for alias in node.names} & particular == set()
    assert particular >= {"PGD", "FGSM", "Linf", "L2"}


FORBIDDEN = {
    "": ("torch", "pytorch_lightning"),
    "objectives.rslad": ("pytorch_lightning", "ard.attacks", "ard.training"),
    "evaluation": ("pytorch_lightning", "lightning", "ard.objectives", "ard.data", "ard.training", "ard.models"),
}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_what_is_not_imported_even_through_others(module):
    """In a process of its own; this one has imported everything already."""
    name = f"ard.{module}".rstrip(".")
    code = f"import sys, {name}; print(*sorted(set({FORBIDDEN[module]!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("package", ["ard.evaluation", "ard.objectives", "ard.attacks", "ard.losses", "ard.models"])
def test_the_mathematics_knows_no_lightning(package):
    trees = [tree for name, tree in MODULES.items() if is_within(name, package)]
    assert trees
    assert [name for tree in trees for name in imports(tree, MODULES) if "lightning" in name] == []


def test_no_drawer_for_everything():
    names = {name.rpartition(".")[2] for name in MODULES}
    assert names & {"utils", "util", "helpers", "common", "misc", "registry"} == set()


def test_files_stay_short():
    lengths = {file.name: len(file.read_text().splitlines()) for file in (ROOT / "ard").rglob("*.py")}
    assert {file: length for file, length in lengths.items() if length >= 200} == {}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module):
    assert inspect.cleandoc(ast.get_docstring(MODULES[module]) or "")
