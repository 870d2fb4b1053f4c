"""Signatures of files, made by minisign with somebody's key and kept beside the file; checked here, never made."""

import os
from pathlib import Path
from typing import Any

from ard.core.errors import UserError
from ard.core.files import readable, small_text
from ard.core.text import first_line, printable

MOST = 4096  # bytes of a key or a signature; minisign's own have some 300


def check_signature(file: Path, key: str) -> str:
    """Check that the owner of a key signed this very file, in FILE.minisig beside it; returns what the owner wrote there.

    Args:
        file: What is to be signed; only its bytes count, not its name.
        key: A file with a public key as minisign writes it, or the key itself.

    Raises:
        UserError: Where the signature is missing, of other bytes, or of another key; where the key is none; where the
            package py-minisign is missing.
    """
    minisign = _minisign()
    public, signature_file = _key(minisign, key), Path(f"{file}.minisig")
    expected = f"expected what `minisign -Sm {file}` writes"
    if not signature_file.exists():
        raise UserError(f"{file} is not signed: no {signature_file.name} beside it; {expected}")
    try:
        signature = minisign.Signature.from_bytes(small_text(signature_file, MOST).encode())
    except (OSError, ValueError) as error:
        raise UserError(f"{signature_file} is no signature ({first_line(error)}); {expected}") from error
    try:
        with readable(file) as content:
            public.verify(content, signature)
    except minisign.Error as error:
        raise UserError(f"{file} was not signed by this key, or changed afterwards: {first_line(error)}") from error
    return printable(signature.trusted_comment)


def _key(minisign: Any, key: str) -> Any:
    """A public key, from its file or from its own text."""
    there = os.path.exists(key)
    try:
        return (
            minisign.PublicKey.from_bytes(small_text(key, MOST).encode()) if there else minisign.PublicKey.from_base64(key)
        )
    except (OSError, ValueError) as error:
        what = f"{'' if there else 'no such file, and as a key: '}{first_line(error)}"
        raise UserError(
            f"{key!r:.200} is no public key ({what}); expected minisign.pub, as `minisign -G` writes it, or the key in it"
        ) from error


def _minisign() -> Any:
    try:
        import minisign
    except ImportError as error:
        raise UserError("a signature is checked by py-minisign, which is not installed: pip install py-minisign") from error
    return minisign
