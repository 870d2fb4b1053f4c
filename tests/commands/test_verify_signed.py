"""`ard verify --public-key`: who vouches for a record, and for the weights that it names."""

import os
import sys

import minisign
import pytest
from small_runs import cli, write_weights
from tiny import user_error

from ard.artifacts.signature import check_signature

pytestmark = pytest.mark.usefixtures("short_attacks")

NAMES = ("student.safetensors", "evaluation.json", "evaluation.adversarial.safetensors")


# The key and the signature of a file that holds one x, as minisign 0.11 wrote them.
MINISIGN_KEY = "RWQzX7tTOYN5hfaEj3og0CMdVfvk1m5GCPLs9zxl1wZvgF2LLep9/PZ3"
MINISIGN_WROTE = """\
untrusted comment: signature from minisign secret key
RUQzX7tTOYN5hYHyEPWczFV5r6M8nHWO5cIWvyr9sUknWEWGgw8yKHjuPCY/TtHvIeISiBxnvNyZaKFC4dHQUD9nq4KlHkXdAQM=
trusted comment: timestamp:1795738846\tfile:e.json\thashed
16QUFQEdNMM4pWsxPD7e/qnAaVQOfrOOAfphE38OiaDlZubDSLlzbhkQ8VG3r4PB/L+6qtHq17Gdvam9zfm9CA==
"""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The bytes of weights, their record and their adversarial images."""
    from ard.__main__ import main

    weights = write_weights(tmp_path_factory.mktemp("signed") / "student.safetensors")
    assert main(["evaluate", str(weights), "--limit=20", "--save-adversarial"]) == 0
    return {name: (weights.parent / name).read_bytes() for name in NAMES}


@pytest.fixture
def place(evaluated, tmp_path):
    for name, content in evaluated.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def owner(place):
    """A key pair whose public half is in minisign.pub."""
    pair = minisign.KeyPair.generate()
    (place / "minisign.pub").write_bytes(bytes(pair.public_key) + b"\n")
    return pair


def sign(owner, file, comment="of the second of May"):
    signature = owner.secret_key.sign(file.read_bytes(), trusted_comment=comment)
    file.with_name(f"{file.name}.minisig").write_bytes(bytes(signature) + b"\n")


def verified(capsys, place, name="evaluation.json", key="minisign.pub"):
    return cli(capsys, "verify", place / name, place / "student.safetensors", "--public-key", place / key)


def refused(capsys, *arguments, **options):
    status, out, err = verified(capsys, *arguments, **options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    return err


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_signed_file_is_said_to_be_signed(place, owner, capsys, name):
    sign(owner, place / name, "mine\tof today")
    status, out, err = verified(capsys, place, name)
    assert (status, err, out.count("\n")) == (0, "", 2)
    assert "signed by this key, which covers the weights by their SHA-256; the signer wrote: mine\\tof today" in out


def test_the_key_itself_stands_for_its_file(place, owner, capsys):
    sign(owner, place / "evaluation.json")
    key = owner.public_key.to_base64().decode()
    words = ("verify", place / "evaluation.json", place / "student.safetensors", "--public-key", key)
    assert cli(capsys, *words)[0] == 0


def test_what_minisign_itself_wrote_is_understood(tmp_path):
    file = tmp_path / "e.json"
    file.write_text("x")
    file.with_name("e.json.minisig").write_text(MINISIGN_WROTE)
    assert check_signature(file, MINISIGN_KEY).endswith("file:e.json\\thashed")
    file.write_text("y")
    with user_error("was not signed by this key"):
        check_signature(file, MINISIGN_KEY)


def test_without_the_option_a_signature_is_only_mentioned(place, capsys):
    words = ("verify", place / "evaluation.json", place / "student.safetensors")
    plain = cli(capsys, *words)
    assert (plain[0], plain[1].count("\n")) == (0, 1)
    (place / "evaluation.json.minisig").write_text("whatever")
    hint = f"{place / 'evaluation.json'}.minisig was not looked at: --public-key KEY checks it\n"
    assert cli(capsys, *words) == (0, plain[1] + hint, "")


@pytest.mark.parametrize("key", ["", "nowhere/minisign.pub"])
def test_a_key_that_is_not_there_is_no_wish_to_do_without(place, owner, capsys, key):
    sign(owner, place / "evaluation.json")
    words = ("verify", place / "evaluation.json", place / "student.safetensors")
    status, out, err = cli(capsys, *words, f"--public-key={key}")
    told = "no such file" if key else "--public-key names nothing"
    assert (status, out, err.count("\n"), told in err) == (2, "", 1, True)


@pytest.mark.usefixtures("owner")
def test_a_missing_signature_is_no_signature(place, capsys):
    said = refused(capsys, place)
    assert "evaluation.json is not signed: no evaluation.json.minisig beside it; expected what `minisign -Sm" in said


@pytest.mark.fault(66)
def test_each_byte_of_a_signed_record_counts(place, owner, capsys, observed):
    file = place / "evaluation.json"
    sign(owner, file)
    content = bytearray(file.read_bytes())
    positions = range(0, len(content), len(content) // 20)
    for position in positions:
        content[position] ^= 1
        file.write_bytes(content)
        said = refused(capsys, place)
        assert "was not signed by this key, or changed afterwards" in said
        content[position] ^= 1
    observed(f"each of {len(positions)} flipped bits: {said}")


def test_a_signature_of_somebody_else_or_of_another_file_is_refused(place, owner, capsys):
    sign(minisign.KeyPair.generate(), place / "evaluation.json")
    assert "was not signed by this key" in refused(capsys, place)
    sign(owner, place / "student.safetensors")
    os.replace(place / "student.safetensors.minisig", place / "evaluation.json.minisig")
    assert "was not signed by this key" in refused(capsys, place)


def test_a_signed_record_does_not_vouch_for_other_weights(place, owner, capsys):
    sign(owner, place / "evaluation.json")
    write_weights(place / "student.safetensors", seed=7)
    assert "is of other weights" in refused(capsys, place)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\n" * 4, b"untrusted comment: x\nAAAA\ntrusted comment: y\nAAAA\n", b"x" * 9000]
)
def test_what_is_no_signature_and_no_key_is_one_line(place, owner, capsys, content):
    (place / "evaluation.json.minisig").write_bytes(content)
    assert "evaluation.json.minisig is no signature" in refused(capsys, place)
    sign(owner, place / "evaluation.json")
    (place / "minisign.pub").write_bytes(content)
    assert "is no public key" in refused(capsys, place)


def test_a_changed_signature_never_counts(place, owner, capsys):
    sign(owner, place / "evaluation.json")
    file = place / "evaluation.json.minisig"
    content = file.read_bytes()
    comment = content.index(b"\n")  # the first line is nobody's word
    for position in range(comment + 1, len(content), 9):
        changed = bytearray(content)
        changed[position] ^= 4
        file.write_bytes(changed)
        refused(capsys, place)


@pytest.mark.usefixtures("owner")
def test_pipes_are_not_waited_for(place, capsys):
    os.mkfifo(place / "evaluation.json.minisig")
    assert "is no signature (a pipe, no regular file)" in refused(capsys, place)


def test_without_the_package_it_is_named(place, owner, capsys, monkeypatch):
    sign(owner, place / "evaluation.json")
    monkeypatch.setitem(sys.modules, "minisign", None)
    assert refused(capsys, place).endswith("pip install py-minisign\n")
