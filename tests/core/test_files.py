"""ard.core.files: small files are read whole or refused, and nothing that is no regular file is waited for."""

import os
import socket

import pytest
from in_time import in_time

from ard.core.files import SMALL, open_regular, replaced_since, sha256, small_text, write_whole


def pipe(path):
    os.mkfifo(path)


def huge(path):
    with path.open("wb") as file:
        file.truncate(SMALL + 1)


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


ODD = {
    "a pipe, no regular file": pipe,
    "a directory, no regular file": lambda path: path.mkdir(),
    "a device, no regular file": lambda path: path.symlink_to("/dev/zero"),
    f"{SMALL + 1} bytes, at most {SMALL}": huge,
    "utf-8": lambda path: path.write_bytes(b"\xff\xfe{"),
    "No such file": lambda path: path.symlink_to("nowhere"),
    "No such device": unix_socket,
}


@pytest.mark.fault(60)
@pytest.mark.parametrize("words", ODD)
def test_what_is_no_small_text_is_refused_at_once(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ODD[words](tmp_path / "odd")
    with pytest.raises((OSError, ValueError), match=words), in_time():
        small_text("odd")


def test_files_of_the_system_that_say_they_are_empty_are_bounded():
    assert small_text("/proc/self/status").startswith("Name:")
    with pytest.raises(ValueError, match="at most 5"):
        small_text("/proc/self/status", 5)


def test_a_regular_file_is_read(tmp_path):
    (tmp_path / "a").write_bytes("ä".encode())
    assert small_text(tmp_path / "a", 2) == "ä"
    with open_regular(tmp_path / "a") as file:
        assert file.read() == "ä".encode()


def test_a_file_that_changed_is_said_and_one_that_did_not_is_not(tmp_path):
    (tmp_path / "same").write_text("same")
    (tmp_path / "other").write_text("other")
    read = {str(tmp_path / name): sha256(tmp_path / "same") for name in ("same", "other", "gone")}
    changed, gone = replaced_since(read)
    assert f"other was replaced while it was in use: SHA-256 {sha256(tmp_path / 'same')[:12]}… was used" in changed
    assert gone.endswith("gone was replaced while it was in use: SHA-256 0967115f2813… was used, nothing… is there now")


def test_a_text_with_a_name_that_is_no_utf_8_is_written(tmp_path):
    """As a folder may be called, and as JSON may say."""
    write_whole(tmp_path / "table.md", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "table.md").read_text() == "caf\\udce9"
