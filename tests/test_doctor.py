"""`ard doctor` on a healthy machine, and on one with something wrong."""

import pytest
from small_runs import cli

from ard import doctor
from ard.bench import step as bench_step
from ard.models import ResNet


@pytest.fixture(autouse=True)
def small(monkeypatch):
    tiny = {name: lambda: ResNet(num_classes=10, width=4, blocks=(1,)) for name in bench_step.NETWORKS}
    monkeypatch.setattr(bench_step, "NETWORKS", tiny)


def test_a_healthy_machine(place, capsys):  # noqa: ARG001
    status, out, err = cli(capsys, "doctor")
    assert (status, err) == (0, "")
    for words in ("| torch |", "| device |", "precision: auto", "channels_last", "times the released step"):
        assert words in out
    assert "not well" not in out


@pytest.mark.parametrize(
    ("found", "told"), [("1.0", "expected >=2.6"), (None, "missing: pip install 'torch>=2.6'")], ids=["too old", "missing"]
)
def test_a_package_that_does_not_do(monkeypatch, capsys, found, told):
    whole = doctor.version

    def version(name):
        if name == "torch" and found is None:
            raise doctor.PackageNotFoundError
        return found if name == "torch" else whole(name)

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "levers", lambda: [])
    status, out, _ = cli(capsys, "doctor")
    (line,) = [line for line in out.splitlines() if line.startswith("| torch |")]
    assert status == 1
    assert told in line
    assert "not well" in line


def test_a_torchvision_for_another_torch(monkeypatch):
    def refuse(_):
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(doctor, "import_module", refuse)
    *_, last = doctor.packages()
    assert (last.well, last.found) == (False, "does not import: operator torchvision::nms does not exist")


def test_no_room_and_no_permission(monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1e9})())
    monkeypatch.setattr("os.access", lambda *_: False)
    assert [finding.well for finding in doctor.places()] == [False, False]


def test_bfloat16_is_not_measured_where_the_hardware_lacks_it(monkeypatch):
    monkeypatch.setattr(doctor, "has_bfloat16", lambda _: False)
    assert not any("bfloat16" in finding.about for finding in doctor.levers())
