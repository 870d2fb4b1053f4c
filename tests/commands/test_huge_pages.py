"""The command asks torch for huge pages, before torch is imported, and leaves a user's own word as it is."""

import os

import pytest

from ard.__main__ import HUGE_PAGES, main


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("0", "0")])
def test_huge_pages_are_asked_for_unless_the_user_has_spoken(monkeypatch, given, expected):
    monkeypatch.setenv(HUGE_PAGES, "to be put back")
    monkeypatch.delenv(HUGE_PAGES) if given is None else monkeypatch.setenv(HUGE_PAGES, given)
    main(["list", "--help"])
    assert os.environ[HUGE_PAGES] == expected
