"""Whoever adds a method adds three files, an objective, its recipe and its oracle, and touches nothing else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREE = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml", "ard", "configs", "docs", "scripts", "tests"]
ADDED = {
    "ard/objectives/logit_pairing.py": '''\
"""Adversarial logit pairing: an image and its attacked twin get the same logits."""

import torch.nn.functional as F
from torch import Tensor, nn

from ard.objectives.base import Objective, Pair, attack_labels


class LogitPairing(Objective):
    """Adversarial logit pairing, Kannan et al. 2018.

    Attack loss: CE(S(x'), y).
    Training loss: mean CE(S(x'), y) + λ ‖S(x) − S(x')‖².

    Args:
        strength: λ.
    """

    labels = "soft"

    def __init__(self, *, strength: float = 0.5) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            adv = student(x_adv)
            apart = F.mse_loss(student(x), adv, reduction="none").sum(dim=1)
            return {"ce": self.hard_label(adv, y), "pairing": self.strength * apart.mean()}

        return attack_labels(student, y), training_loss
''',
    "configs/objectives/logit_pairing.yaml": """\
# Adversarial logit pairing, Kannan et al. 2018: an image and its attacked twin get the same logits.
# inner: CE(S(x'), y)
# outer: CE(S(x'), y) + λ ‖S(x) − S(x')‖²
# ard fit -c configs/cifar10.yaml -c configs/objectives/logit_pairing.yaml
# published: none found
model:
  class_path: ard.Distillation
  init_args:
    objective:
      class_path: ard.objectives.logit_pairing.LogitPairing
      init_args: {strength: 0.5}
    training: {monitor: val/robust_acc}
""",
    "tests/objectives/test_oracles_logit_pairing.py": '''\
"""Adversarial logit pairing written out a second time."""

from logit_table import X_ADV, LogitTable, X, assert_loss_and_gradient, ce, pair

from ard.objectives.logit_pairing import LogitPairing


def test_logit_pairing():
    student = LogitTable(X, X_ADV)
    attack_loss, training_loss = pair(LogitPairing(strength=0.3), student)
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: ce(adv), student)
    terms = training_loss(X_ADV)
    assert_loss_and_gradient(terms["ce"], lambda _, adv: ce(adv).mean(), student)
    assert_loss_and_gradient(
        terms["pairing"], lambda clean, adv: 0.3 * ((clean - adv) ** 2).sum(axis=1).mean(), student
    )
''',
}


@pytest.fixture
def copy(tmp_path):
    """The tree with the three files in it."""
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / name)
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(ROOT / "checkpoints" / "README.md", tmp_path / "checkpoints")
    for name, content in ADDED.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(content)
    return tmp_path


def run(place, *words):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment |= {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=place, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_three_files_are_enough(copy):
    """The contracts find them, nothing else minds, and the next run of scripts/tables.py gives them their row."""
    kept = {name: (copy / name).read_bytes() for name in ("docs/methods.md", "docs/results/costs.json")}
    files = ["tests/objectives/test_objectives.py", "tests/objectives/test_oracles_logit_pairing.py", "tests/test_readme.py"]
    files += ["tests/training/test_recipes.py", "tests/training/test_precision.py", "tests/test_architecture.py"]
    laws = "architecture and not even_through_others"  # an objective changes nobody's imports, and each is a process
    theirs = f"LogitPairing or logit_pairing or ({laws}) or every_objective_has or costs_are or in_the_table or methods.md"
    done = run(copy, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *files, "-k", theirs)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    for contract in [
        "objectives/test_objectives.py::test_every_terms_gradient_is_right[LogitPairing]",
        "objectives/test_objectives.py::test_pickle_and_state_dict_give_the_same_objective[LogitPairing]",
        "training/test_recipes.py::test_a_recipe_trains_and_costs_what_the_table_of_methods_says[logit_pairing]",
        "training/test_recipes.py::test_a_recipe_trains_in_an_l2_ball_too[logit_pairing]",
        "training/test_recipes.py::test_every_objective_has_a_recipe",
        "test_readme.py::test_the_tables_are_those_of_records_and_code[methods.md]",
        "objectives/test_oracles_logit_pairing.py::test_logit_pairing",
    ]:
        assert f"PASSED tests/{contract}" in done.stdout
    assert {name: (copy / name).read_bytes() for name in kept} == kept

    assert run(copy, "scripts/costs.py", "logit_pairing").returncode == 0
    assert run(copy, "scripts/tables.py").returncode == 0
    row = re.search(r"^\| `logit_pairing` \| (.*)\|$", (copy / "docs" / "methods.md").read_text(), re.MULTILINE)
    assert row is not None
    assert "Kannan et al. 2018 | CE(S(x'), y) | CE(S(x'), y) + λ ‖S(x) − S(x')‖² | 0 | student 12 F + 12 B |" in row[1]
    assert "oracle-tested" in row[1]
