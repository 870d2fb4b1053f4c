"""The import table of docs/architecture.md against the imports in the code, and rules a reviewer would forget."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
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
    """Package -> the packages it may import, or None for everything; from the rows of the document, in their order."""
    rows, above = {}, []
    for packages, cell in re.findall(r"^\| (`ard.*?`) \| (.+) \|$", DOCUMENT, re.MULTILINE):
        names = re.findall(r"`(ard[\w.]*)`", packages)
        for name in names:
            named = set(re.findall(rf"`{name}` also `(ard[\w.]*)`", cell)) if "also" in cell else set()
            named |= set() if "also" in cell else set(re.findall(r"`(ard[\w.]*)`", cell))
            rows[name] = None if cell == "everything" else named | (set(above) if "everything above" in cell else set())
        above += names
    return rows


def package_of(module):
    return ".".join(module.split(".")[:2]) if module != "ard.__main__" else "ard"


def is_within(name, package):
    return name == package or name.startswith(f"{package}.")


def violations(module, imported, rows):
    """What `module` imports of ard and its row does not allow."""
    own = package_of(module)
    assert own in rows, f"{module} has no row in docs/architecture.md"
    if rows[own] is None:
        return
    allowed = {own, "ard.core", *rows[own]}
    for name in imported:
        if is_within(name, "ard") and name != "ard" and not any(is_within(name, package) for package in allowed):
            yield f"{module} imports {name}"


MODULES = modules()


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_those_of_the_table(module):
    assert sorted(violations(module, imports(MODULES[module], MODULES), table())) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("ard.core.files", "from ard.losses import kl", "ard.losses"),
        ("ard.losses", "import ard.training.engine", "ard.training.engine"),
        ("ard.attacks.balls", "from ard import data", "ard.data"),
        ("ard.objectives.base", "def f():\n    from ard.attacks import PGD", "ard.attacks"),
        ("ard.training.engine", "from ard.objectives.rslad import RSLAD", "ard.objectives.rslad"),
        ("ard.evaluation.request", "from importlib import import_module\nimport_module('ard.data')", "ard.data"),
        ("ard.report.table", "if TYPE_CHECKING:\n    from ard.models import load", "ard.models"),
        ("ard.bench.levers", "from ard.study.plan import plan", "ard.study.plan"),
    ],
)
def test_a_forbidden_import_would_be_found(module, source, found):
    assert list(violations(module, imports(ast.parse(source), MODULES), table())) == [f"{module} imports {found}"]


def test_the_table_has_at_most_ten_rows_and_speaks_of_what_exists():
    assert len(re.findall(r"^\| `ard", DOCUMENT, re.MULTILINE)) <= 10
    rows = table()
    assert set(rows) == {package_of(module) for module in MODULES}
    assert [name for cell in rows.values() for name in cell or () if name not in MODULES] == []


def test_a_method_imports_another_only_as_a_base_or_default():
    found = [
        (module, name)
        for module, tree in MODULES.items()
        if is_within(module, "ard.objectives") and module != "ard.objectives.base"
        for name in imports(tree, MODULES)
        if is_within(name, "ard.objectives") and name != "ard.objectives.base"
    ]
    around = [
        "adr",
        "head_scale",
        "interval_sensitivity",
        "liet",
        "norm_bias",
        "rank_projection",
        "region_at",
        "teacher_labels",
        "weissi",
    ]
    defaults = {"igdm": "adaad", "less_known": "ard", "node_alignment": "rslad"} | dict.fromkeys(around, "pgd_at")
    assert sorted(found) == sorted((f"ard.objectives.{name}", f"ard.objectives.{base}") for name, base in defaults.items())


def test_the_layout_lists_every_module_and_package():
    listed = set(re.findall(r"^      (\w+(?:\.py|/)) ", DOCUMENT, re.MULTILINE))
    folders = {f"{file.parent.name}/" for file in (ROOT / "ard").glob("*/__init__.py")}
    assert listed == folders | {file.name for file in (ROOT / "ard").glob("*.py")}


def test_no_module_needs_itself_to_be_imported():
    graph = {
        name: {other for other in imports(tree, MODULES, at_import=True) if other in MODULES} - {"ard", name}
        for name, tree in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError and names the circle


@pytest.mark.parametrize(
    "module", ["ard.training.engine", "ard.training.step", "ard.training.distillation", "ard.training.replays"]
)
def test_training_knows_no_particular_attack(module):
    particular = {kind.__name__ for parent in (Attack, Ball) for kind in tiny.concrete(ard.attacks, parent)}
    froms = [node for node in ast.walk(MODULES[module]) if isinstance(node, ast.ImportFrom)]
    assert {alias.name for node in froms for alias in node.names} & particular == set()
    assert particular >= {"PGD", "FGSM", "Linf", "L2"}


FORBIDDEN = {
    "": ("torch", "pytorch_lightning"),
    "objectives.rslad": ("pytorch_lightning", "ard.attacks", "ard.training"),
    "configs.catalogue": ("torch", "yaml", "jsonargparse"),
    "evaluation": ("pytorch_lightning", "lightning", "ard.objectives", "ard.data", "ard.training", "ard.models"),
}


@pytest.mark.parametrize("module", FORBIDDEN)
def test_what_is_not_imported_even_through_others(module):
    """In a process of its own; this one has imported everything already. Of ard.data, see test_study_launcher.py."""
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


def public_names(tree):
    """The functions, classes and constants that a module defines at its top, without private ones."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node] if hasattr(node, "name") else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names = (getattr(target, "id", getattr(target, "name", "_")) for target in targets)
        yield from ((name, isinstance(node, ast.FunctionDef | ast.ClassDef)) for name in names if not name.startswith("_"))


def test_one_name_is_one_thing():
    """Over functions and classes, and constants that another module imports."""
    froms = [node for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported = {alias.name for node in froms for alias in node.names}
    homes = defaultdict(set)
    for module, tree in MODULES.items():
        for name, is_code in public_names(tree):
            if is_code or name in imported:
                homes[name].add(module)
    assert {name: sorted(modules) for name, modules in homes.items() if len(modules) > 1} == {}


def length(function):
    """Its lines but for the docstring: a well described argument must not cost a statement."""
    docstring = function.body[0] if ast.get_docstring(function) else None
    return function.end_lineno - function.lineno + 1 - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)


def test_functions_have_at_most_forty_lines():
    functions = [(module, node) for module, tree in MODULES.items() for node in ast.walk(tree)]
    lengths = {f"{module}.{node.name}": length(node) for module, node in functions if isinstance(node, ast.FunctionDef)}
    assert {name: length for name, length in lengths.items() if length > 40} == {}
