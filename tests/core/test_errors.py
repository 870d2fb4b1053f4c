"""The one line a user sees: whatever the message is made of, it is one line that a terminal can show."""

import pickle

import pytest
from torch._utils import ExceptionWrapper

from ard.core.errors import LONGEST, UserError


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("a.png: not an image", "a.png: not an image"),
        ("two\nlines\r\n", "two lines"),
        ("\x1b[2Jgone\x00", "\\x1b[2Jgone\\x00"),
        ("name\udcff.png", "name\\udcff.png"),
        ("ÅÄÖ − ü …", "ÅÄÖ − ü …"),
        (KeyError("key"), "'key'"),
    ],
)
def test_a_message_is_one_printable_line(message, shown):
    assert str(UserError(message)) == shown
    assert str(pickle.loads(pickle.dumps(UserError(message)))) == shown


def test_a_message_that_a_file_made_long_is_cut_in_the_middle():
    shown = str(UserError("student.pt asks for " + "x" * 10**7 + ": pass the network yourself"))
    assert len(shown) < LONGEST
    assert shown.startswith("student.pt asks for xx")
    assert shown.endswith("xx: pass the network yourself")


def test_of_a_workers_traceback_the_message_remains():
    try:
        raise UserError("dog/0.png: not an image; replace it")
    except UserError:
        caught = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(UserError, match=r"^dog/0\.png: not an image; replace it$"):
        caught.reraise()
