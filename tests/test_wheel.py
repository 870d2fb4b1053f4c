"""The built wheel, installed into a folder of its own and used from an empty one; the checkout is not importable there."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml
from conftest import FAST, TINY
from small_runs import ROOT

TREE = ["ard", "configs", "pyproject.toml", "setup.py", "README.md", "LICENSE"]
RESULTS = ROOT / "docs/results"
MEASURED = [file.relative_to(RESULTS) for file in (RESULTS / "costs.json", *RESULTS.glob("gpu-*/speed.json"))]
CODE = (".py", ".typed", ".json", ".html", ".css", ".js")  # and what pages are made of
NO_INDEX = ["--no-deps", "--no-index"]
BUILD = ["wheel", "--quiet", "--no-build-isolation", *NO_INDEX, "--wheel-dir", "dist", "."]
COMMANDS = """
import json, sys
from ard.__main__ import main
from ard.configs.catalogue import root
print(root())
for words in json.loads(sys.argv[1]):
    assert main(words) in (0, 3, 4), words
ours = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "ard"]
assert ours and all(file.startswith(sys.argv[2]) for file in ours)
"""


def pip(*words, cwd):
    options = ["--disable-pip-version-check", "--no-input"]
    subprocess.run([sys.executable, "-m", "pip", *words, *options], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy called `ard`, as a clone is: a build leaves folders behind."""
    source = tmp_path_factory.mktemp("source") / "ard"
    source.mkdir()
    for name in TREE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    for file in MEASURED:
        (source / "docs/results" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RESULTS / file, source / "docs/results" / file)
    return source


@pytest.fixture(scope="module")
def wheel(source):
    pip(*BUILD, cwd=source)
    return next((source / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel), cwd=folder)
    return folder


def test_the_wheel_has_every_config_and_module_and_what_costs_are_told_from(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    configs = {f"ard/configs/shipped/{file.relative_to(ROOT / 'configs')}" for file in (ROOT / "configs").rglob("*.yaml")}
    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "ard").rglob("*") if file.suffix in CODE}
    assert {name for name in names if ".dist-info/" not in name} == configs | modules | {
        f"ard/bench/records/{file}" for file in MEASURED
    }
    assert len(MEASURED) > 1


def test_its_description_points_at_nothing_that_is_not_there(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    headers, _, text = metadata.partition("\n\n")
    assert "Description-Content-Type: text/markdown" in headers
    assert text.startswith("# ard: ")
    assert len(text) > 0.8 * len((ROOT / "README.md").read_text())
    targets = re.findall(r"\]\(([^)]*)\)|<img|src=|href=|^\[.*\]: ", text, re.MULTILINE)
    assert [target for target in targets if not target.startswith("https://")] == []
    assert "![" not in text
    assert "| Concepts |" in text  # a link in README


def test_an_editable_install_works_above_a_clone_of_its_own_name(source, tmp_path):
    """The current folder comes first in `sys.path`; its folder `ard` without __init__.py must not be the package."""
    pip("install", "--quiet", "--no-build-isolation", *NO_INDEX, "--target", str(tmp_path), "-e", str(source), cwd=tmp_path)
    # without the finder of the checkout that is tested
    ask = "import site, sys; sys.meta_path[:] = [one for one in sys.meta_path if 'Editable' not in str(one)]; "
    ask += f"site.addsitedir({str(tmp_path)!r}); import ard.__main__; ard.__main__.main()"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [sys.executable, "-c", ask, "list", "methods"]
    done = subprocess.run(words, cwd=source.parent, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, "pgd_at" in done.stdout) == (0, "", True)


@pytest.mark.slow
def test_from_an_empty_folder(installed, tmp_path):
    fast = [*TINY, *FAST]
    overrides = dict(option.removeprefix("--").split("=", 1) for option in fast)
    study = {
        "base": "digits",
        "recipes": ["pgd_at"],
        "overrides": {"pgd_at": {key: yaml.safe_load(value) for key, value in overrides.items()}},
        "evaluate": {"suite": "quick", "limit": 20},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(study))
    out = ard_commands(
        installed,
        tmp_path,
        ["list"],
        ["list", "methods"],
        ["config", "methods/rslad"],
        ["fit", "-c", "digits", "-c", "configs/methods/pgd_at.yaml", *fast],
        ["evaluate", "checkpoints/digits/pgd_at/seed0/student.safetensors", "--data", "digits", "--limit", "20"],
        ["study", "tiny"],
    )
    assert out.startswith(f"{installed / 'ard/configs/shipped'}\n")
    assert (ROOT / "configs/methods/rslad.yaml").read_text() in out
    for folder in ("digits/pgd_at/seed0", "tiny/pgd_at/seed0"):
        assert (tmp_path / "checkpoints" / folder / "evaluation.json").is_file()
    assert (tmp_path / "checkpoints/tiny/table.md").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoints", "tiny.yaml"]


def ard_commands(installed, folder, *commands):
    """What these commands print one after another, in one process that sees the installed package."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    words = [sys.executable, "-c", COMMANDS, json.dumps(commands), str(installed)]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
