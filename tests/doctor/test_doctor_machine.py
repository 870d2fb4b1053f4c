"""`ard doctor` on a healthy machine, and on one with something wrong."""

import sys

import pytest
from small_runs import cli

from ard.bench import networks
from ard.doctor import machine
from ard.models import ResNet

pytestmark = pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # as the released codes do


@pytest.fixture(autouse=True)
def small(monkeypatch):
    tiny = {name: lambda: ResNet(num_classes=10, width=4, blocks=(1,)) for name in networks.NETWORKS}
    monkeypatch.setattr(networks, "NETWORKS", tiny)


def test_a_healthy_machine(place, capsys):  # noqa: ARG001
    status, out, err = cli(capsys, "doctor")
    assert (status, err) == (0, "")
    for words in ("| torch |", "| device |", "precision: auto", "channels_last", "times the released step"):
        assert words in out
    assert "**error**" not in out


@pytest.mark.parametrize(
    ("found", "told"), [("1.0", "expected >=2.6"), (None, "missing: pip install 'torch>=2.6'")], ids=["too old", "missing"]
)
def test_a_package_that_does_not_do(monkeypatch, capsys, found, told):
    whole = machine.installed_version
    monkeypatch.setattr(machine, "installed_version", lambda name: found if name == "torch" else whole(name))
    monkeypatch.setattr("ard.doctor.machine.levers", lambda: [])
    status, out, _ = cli(capsys, "doctor")
    (line,) = [line for line in out.splitlines() if line.startswith("| torch |")]
    assert status == 1
    assert told in line
    assert "**error**" in line


def test_a_torchvision_for_another_torch(monkeypatch):
    def refuse(_):
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(machine, "import_module", refuse)
    *_, last = machine.packages()
    assert (last.verdict, last.message) == ("error", "does not import: operator torchvision::nms does not exist")


def test_no_room_and_no_permission(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1e9})())
    monkeypatch.setattr("os.access", lambda *_: False)
    assert [finding.verdict for finding in machine.places()] == ["error", "error"]


def test_bfloat16_is_not_measured_where_the_hardware_lacks_it(monkeypatch):
    monkeypatch.setattr(machine, "has_bfloat16", lambda _: False)
    assert not any("+ bfloat16" in finding.about for finding in machine.levers())


@pytest.mark.parametrize(
    ("name", "found", "verdict", "told"),
    [
        ("pytorch-lightning", "2.6.2", "error", "malicious"),
        ("pytorch-lightning", "2.6.3", "error", "malicious"),
        ("torch", "2.5.1", "error", "CVE-2025-32434"),
        ("lightning", "2.6.6", "warning", "a second Lightning"),
    ],
)
def test_versions_that_somebody_was_harmed_by(monkeypatch, name, found, verdict, told):
    whole = machine.installed_version
    assert list(machine.known_bad()) == []
    monkeypatch.setattr(machine, "installed_version", lambda asked: found if asked == name else whole(asked))
    (finding,) = machine.known_bad()
    assert finding.about == f"{name} {found}"
    assert finding.verdict == verdict
    assert told in finding.message


def test_a_robustbench_that_lacks_what_it_imports_is_not_as_if_it_were_there(monkeypatch):
    monkeypatch.setattr(machine, "installed_version", lambda _: "1.1")
    monkeypatch.setitem(sys.modules, "robustbench", None)
    *_, last = machine.optional()
    assert (last.about, last.verdict) == ("robustbench", "warning")
    assert "pip install 'setuptools<82' git+https://github.com/RobustBench/robustbench" in last.message


def test_optional_packages_are_listed_with_what_they_are_for_and_harm_nobody_by_their_absence(monkeypatch):
    without = ("pyautoattack", "robustbench")
    monkeypatch.setattr(machine, "installed_version", lambda name: None if name in without else "1.2")
    found = {finding.about: finding for finding in machine.optional()}
    assert found["pyautoattack (optional)"].message == "not installed; for AutoAttack: --suite standard and full"
    assert found["timm (optional)"].message == "1.2; for its networks: ard.models.Timm"
    assert {finding.verdict for finding in found.values()} == {"ok"}
