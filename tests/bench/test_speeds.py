"""scripts/speeds.py: a recipe's speed is its steps against ARD's, replays count as steps, and the table has room for it."""

import json

import method_table
import pytest
import speeds
import torch
from conftest import TINY

from ard.bench import networks, timed_step
from ard.models import MobileNetV2, ResNet

pytestmark = pytest.mark.filterwarnings("ignore:PGD with relative_step")  # fewer steps than the recipes' own


@pytest.fixture
def forwards(monkeypatch):
    """A clock that ticks when a MobileNetV2 answers: so a step takes as long as the student has passes."""
    kinds = {"ResNet-18": ResNet, "MobileNetV2": MobileNetV2}
    small = {"ResNet-18": {"width": 4, "blocks": (1,)}, "MobileNetV2": {"stages": ((1, 16, 1, 1),), "head": 16}}
    made = {name: lambda name=name: kinds[name](num_classes=10, **small[name]) for name in kinds}
    monkeypatch.setattr(networks, "NETWORKS", made)
    ticks = []
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, _, __: ticks.append(1) if isinstance(module, MobileNetV2) else None
    )
    monkeypatch.setattr(timed_step.Watch, "now", lambda _: float(len(ticks)))
    yield
    hook.remove()


@pytest.mark.usefixtures("forwards")
@pytest.mark.parametrize(("recipe", "passes"), [("pgd_at", 11), ("trades", 13), ("free_at", 1), ("natural", 1)])
def test_a_recipe_is_as_much_faster_than_ard_as_it_has_fewer_passes(recipe, passes, tmp_path):
    (path,) = [path for path in speeds.RECIPES if path.stem == recipe]
    found = speeds.speed_of(path, tmp_path, tmp_path / "none", batch_size=2, rounds=3, more=TINY)
    ard = 11
    assert found == {"median": ard / passes, "least": ard / passes, "most": ard / passes, "seconds": passes}


def test_the_table_of_methods_shows_what_was_measured_and_a_dash_for_the_rest(monkeypatch):
    shipped = method_table.record
    ard = {"median": 1.01, "least": 0.98, "most": 1.049}
    about = {"device": "a machine", "threads": 2, "torch": "2", "batch_size": 128, "pgd_steps": 10, "clock": "process"}
    measured = {**about, "rounds": 5, "relative_to_ard": {"ard": ard}}
    monkeypatch.setattr(method_table, "record", lambda name: measured if name == "speeds.json" else shipped(name))
    table = method_table.methods({"ard", "rslad"})
    place = table.splitlines()[1].split(" | ").index(method_table.SPEED)
    cells = {row.split("`")[1]: row.split(" | ")[place] for row in table.splitlines() if row.startswith("| `")}
    assert cells == {"ard": "1.01 (0.98 to 1.05)", "rslad": "–"}
    assert "a machine, 2 threads" in table
    monkeypatch.setattr(method_table, "record", lambda name: {} if name == "speeds.json" else shipped(name))
    assert method_table.SPEED not in method_table.methods({"ard"})


def test_measurements_under_other_conditions_do_not_mix(monkeypatch, tmp_path):
    monkeypatch.setattr(speeds, "OUTPUT", tmp_path / "speeds.json")
    speeds.OUTPUT.write_text(json.dumps({"device": "another", "relative_to_ard": {"ard": {}}}))
    with pytest.raises(SystemExit, match="measured under other conditions"):
        speeds.main(["trades"], batch_size=2, rounds=3)
