"""What a person sees of names that a screen could take for commands."""

import io

import pytest
from rich.console import Console

from ard.commands import display as evaluations
from ard.study import display as studies

NAMES = ["rslad[v2]", "a[/b]", "[red]x"]


@pytest.fixture
def screen(monkeypatch):
    screen = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=120)
    monkeypatch.setattr(evaluations, "console", lambda **_: screen)
    monkeypatch.setattr(studies, "console", lambda: screen)
    return screen


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_a_run_is_shown_as_it_is(name, screen, tmp_path):
    resolved = {"model": {"init_args": {}}, "trainer": {"max_epochs": 1}}
    with studies.Display(1) as display, display.running(name, tmp_path, resolved):
        display.progress.refresh()
        assert screen.file.getvalue().count(name) >= 2  # the line and the bar


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_weights_is_shown_as_it_is(name, screen):
    with evaluations.progress_bar(name, 1.0, 1):
        pass
    assert f"evaluating {name}, 1 images" in screen.file.getvalue()
