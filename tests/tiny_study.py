"""A study of four runs whose processes are fakes that leave plausible files."""

import pytest

TEACHER = "configs/teachers/digits_resnet.yaml"
STUDY = {
    "base": "configs/digits.yaml",
    "teachers": {"robust": TEACHER},
    "recipes": ["pgd_at", "ard", "fast_ard"],
    "jobs": 2,
    "overrides": {"fast_ard": {"trainer.max_epochs": 8}},
}


@pytest.fixture
def study_place(tmp_path, monkeypatch):
    from small_runs import workplace

    monkeypatch.setattr("ard.study.processes.Processes.run", lambda *_: pytest.fail("a process was started"))
    monkeypatch.setattr("ard.study.display.Display._follow", lambda *_: None)  # it looks once a second
    return workplace(tmp_path, monkeypatch)


@pytest.fixture
def fake(monkeypatch):
    from small_runs import FakeProcesses

    return FakeProcesses().install(monkeypatch)


@pytest.fixture
def study(study_place, capsys, monkeypatch):
    """study(**changes): status, stdout, stderr of the study with changed keys; no picture, which takes a second."""
    from parsed_configs import remembered
    from small_runs import cli, write_yaml

    monkeypatch.setattr("ard.cli.lightning.resolve_config", remembered)

    def run(*, picture=False, **changes):
        write_yaml(study_place / "tiny.yaml", {**STUDY, **changes})
        with monkeypatch.context() as patch:
            if not picture:
                patch.setattr("ard.report.comparison.Comparison._draw", lambda *_: "no picture")
                patch.setattr("ard.report.differences.differences_table", lambda *_: "no differences")
            return cli(capsys, "study", "tiny.yaml")

    return run
