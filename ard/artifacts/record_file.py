"""The file of a record: read only if it is whole and as it was written, written with a digest of itself."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ard.artifacts.record import SCHEMA, SINCE_4, Record
from ard.artifacts.typed_json import from_tree, own_digest, parsed, reason_of, written
from ard.core.bits import unpack
from ard.core.errors import UserError
from ard.core.files import small_text, write_whole

SQUARE = "Square"  # of AutoAttack's attacks


def read_record(path: Path) -> Record:
    """The record in a file; raises UserError, naming key and value, for anything that is no whole record.

    Whole means: every key of its schema and no other, each of its kind, and accuracies that are those of its verdicts.
    """
    try:
        text = small_text(path)
        return _undamaged(_checked(_record_from(parsed(text))), text)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; expected a record of `ard evaluate`") from error
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is damaged ({reason_of(error)}); expected a record of `ard evaluate`: evaluate the weights again"
        ) from error


def readable_record(path: Path) -> Record | None:
    """The record in a file; None where there is none, or not a whole one."""
    try:
        return read_record(path)
    except UserError:
        return None


def write_record(path: Path, record: Record, *, through: Path | None = None) -> None:
    """Write a record in its schema, whole or not at all; the temporary file is in `through`, by default beside it."""
    record = replace(_checked(record), digest=own_digest(record, record.schema) if record.schema >= SINCE_4["since"] else "")
    write_whole(path, written(record, record.schema), through=through)


def _undamaged(record: Record, text: str) -> Record:
    """The record; raises ValueError where its digest is not that of its text, nor of what it says in another layout."""
    as_written = hashlib.sha256(text.replace(f'"{record.digest}"', '""', 1).encode()).hexdigest()
    has_one = record.schema >= SINCE_4["since"]
    if has_one and record.digest != as_written and record.digest != own_digest(record, record.schema):
        raise ValueError("digest: that of another content, so it was changed after it was written")
    return record


def _record_from(tree: Any) -> Record:
    schema = tree.get("schema") if isinstance(tree, dict) else None
    known = schema if type(schema) is int else SCHEMA
    if known > SCHEMA:
        raise ValueError(f"schema {schema}, this version knows up to {SCHEMA}")
    record: Record = from_tree(Record, tree, schema=known)
    return record


def _checked(record: Record) -> Record:
    """The record; raises ValueError where it contradicts itself: accuracies, the worst case, the verdict of its checks."""
    if record.n < 1:
        raise ValueError(f"n: {record.n}, expected at least 1")
    names = [attack.name for attack in record.attacks]
    if list(record.bits) != ["clean", *names, "worst"]:
        raise ValueError(f"bits of {', '.join(record.bits)[:100]}; expected clean, every attack, worst")
    claimed = [("clean", "clean_acc", record.clean_acc), ("worst", "robust_acc", record.robust_acc)]
    claimed += [(attack.name, f"accuracy after {attack.name}", attack.accuracy) for attack in record.attacks]
    if record.autoattack_acc is not None:
        if SQUARE not in names:
            raise ValueError(f"autoattack_acc = {record.autoattack_acc}, but {SQUARE} is none of its attacks")
        claimed += [(SQUARE, "autoattack_acc", record.autoattack_acc)]
    for name, what, accuracy in claimed:
        share = unpack(record.bits[name], record.n).mean()
        if abs(accuracy - share) > 1e-9:
            raise ValueError(f"{what} = {accuracy}, but its verdicts make {share:.6g}")
    survived = np.all([unpack(record.bits[name], record.n) for name in ["clean", *names]], axis=0)
    if not np.array_equal(record.worst, survived):
        raise ValueError("bits of worst: not those that every attack left")
    if bool(record.failed) != (record.verdict == "unreliable"):
        failed = ", ".join(check.id for check in record.failed) or "none"
        raise ValueError(f"verdict: {record.verdict}, but of its checks failed: {failed}")
    return record
