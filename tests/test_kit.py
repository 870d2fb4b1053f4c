"""What surrounds the code: declared dependencies, the citation, the workflow, the hooks, the forms for issues."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# RobustBench needs packages that are not on PyPI, so no extra can install it; the refusal says how to get it.
UNDECLARED = {"robustbench"}
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def names(requirements):
    return {plain(re.match(r"[\w.-]+", line)[0]) for line in requirements}


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder):
    """Top-level names of third-party packages that the files of a folder import anywhere, also inside functions."""
    found = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.partition(".")[0])
    own = {"ard", "scripts", *(path.stem for place in (folder, "tests") for path in (ROOT / place).rglob("*.py"))}
    return found - set(sys.stdlib_module_names) - own


@pytest.mark.parametrize("folder", ["ard", "scripts"])
def test_every_package_that_is_imported_is_declared(folder):
    declared = names(PROJECT["dependencies"]) | {
        name for extra in PROJECT["optional-dependencies"].values() for name in names(extra)
    }
    homes = packages_distributions()
    bringers = {name: {plain(home) for home in homes.get(name, [name])} for name in imported(folder) - UNDECLARED}
    assert {name for name, brought_by in bringers.items() if not brought_by & declared} == set()


def test_every_package_that_is_declared_has_a_version_that_was_tried():
    tried = names(line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#"))
    extras = PROJECT["optional-dependencies"]
    assert names(PROJECT["dependencies"]) | {name for extra in extras.values() for name in names(extra)} <= tried


def test_torchattacks_is_no_part_of_another_extra():
    """It asks for requests 2.25 and would drag every other package down with it."""
    with_it = [extra for extra, lines in PROJECT["optional-dependencies"].items() if "torchattacks" in names(lines)]
    assert with_it == ["torchattacks"]


def test_an_extra_that_a_document_names_exists():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    groups = [group for page in pages for group in re.findall(r"\.\[(\w[\w,]*)\]'", page.read_text())]
    named = {extra for group in groups for extra in group.split(",")}
    assert {"autoattack", "torchattacks"} <= named <= set(PROJECT["optional-dependencies"])


def test_the_citation_names_the_authors_of_the_licence_and_this_version():
    from ard import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (author,) = [author["name"] for author in citation["authors"]]
    assert f"(c) 2026 {author}\n" in (ROOT / "LICENSE").read_text()
    assert citation["version"] == __version__
    assert citation["license"] == PROJECT["license"]


def test_the_workflow_and_the_hooks_call_scripts_of_the_project():
    (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert [hook["id"] for hook in local["hooks"]] == ["ruff", "mypy", "tests"]
    for script in (".ci/run", "scripts/test.sh", "scripts/docs.sh"):
        assert (ROOT / script).stat().st_mode & 0o100, f"{script} cannot be executed"


@pytest.mark.parametrize("form", [form for form in FORMS if form.stem != "config"], ids=lambda form: form.stem)
def test_a_form_for_issues_is_whole(form):
    content = yaml.safe_load(form.read_text())
    assert content["name"]
    assert content["description"]
    ids = [field["id"] for field in content["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in content["body"])
