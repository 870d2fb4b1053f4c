"""Numbers, tables and lines: names in them may be of files of anybody."""

import pytest

from ard.core.terminal import say
from ard.core.text import markdown_table, named_error, printable


def test_a_name_stays_in_its_cell():
    table = markdown_table(["Method", "Clean"], [["odd\n\n**all sound** | yes\x1b[2J", "98.1 ± 0.2"]])
    assert table.splitlines()[2] == "| odd **all sound** \\| yes\\x1b[2J | 98.1 ± 0.2 |"
    assert len(table.splitlines()) == 3


def test_spaces_of_any_width_and_joiners_stay():
    """As in the names that a Mac gives its pictures, and in Persian words."""
    name = "9.41.07\u202fAM\u00a0می\u200cخواهم"
    assert printable(name) == name
    assert printable("\u202e\x9b\u2028") == r"\u202e\x9b\u2028"


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError("\n no\nmore"), "ValueError: no"), (TimeoutError(), "TimeoutError")]
)
def test_an_exception_is_named_though_it_says_nothing(error, line):
    assert named_error(error) == line


@pytest.mark.parametrize("error", [False, True])
def test_a_terminal_is_told_nothing(error, capsys):
    say("cat \x1b[2J 98 %\nβ = 6 …", error=error)
    assert capsys.readouterr()[error] == "cat \\x1b[2J 98 %\nβ = 6 …\n"
