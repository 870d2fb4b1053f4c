"""Frozen dataclasses as JSON: what is read is of the declared kind, and is written back to the byte.

Three things are declared in a field's metadata: another key than its name, that it is left out where it is None, and the
first schema that has it. A number stays what it was: an int under a key that takes any number is not made a float.
"""

import hashlib
import json
import math
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from ard.core.trees import MOST_LEVELS, check_size

LARGEST = 2**63
OMITTED = {"omitted": True}
SINCE_2 = {"since": 2}
SINCE_4 = {"since": 4}


@dataclass(frozen=True)
class Limits:
    """The numbers a field may hold, both ends included."""

    low: float
    high: float


Fraction = Annotated[float, Limits(0, 1)]
Size = Annotated[float, Limits(0, LARGEST)]
Count = Annotated[int, Limits(0, LARGEST)]


@dataclass(frozen=True)
class FieldRule:
    """The rule for one field in JSON."""

    name: str
    key: str
    kind: Any
    omitted: bool
    since: int


@cache
def rules_of(kind: type) -> tuple[FieldRule, ...]:
    """The fields of a dataclass in the order in which they are written."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        FieldRule(
            name=part.name,
            key=part.metadata.get("key", part.name),
            kind=hints[part.name],
            omitted=part.metadata.get("omitted", False),
            since=part.metadata.get("since", 1),
        )
        for part in fields(kind)
    )


def parsed(text: str) -> Any:
    """Parse JSON whose every number is a finite float or a whole number no larger than one.

    Raises ValueError for anything else, and for a tree deeper than any of ours.
    """
    try:
        tree = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole_number)
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MOST_LEVELS}") from error
    check_size(tree)
    return tree


def written(value: Any, schema: int = 1) -> str:
    """The text of a dataclass: one space a level, ASCII, a line break at the end."""
    return json.dumps(to_tree(value, schema), indent=1, allow_nan=False) + "\n"


def own_digest(value: Any, schema: int = 1) -> str:
    """SHA-256 of the text of a dataclass without its own field `digest`."""
    (blank,) = (part.default for part in fields(value) if part.name == "digest")
    return hashlib.sha256(written(replace(value, digest=blank), schema).encode()).hexdigest()


def reason_of(error: Exception) -> str:
    """Why a file is not what it should be, by the error of reading it."""
    return f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)[:200]


def to_tree(value: Any, schema: int = 1) -> Any:
    """Dicts, lists and plain values, ready for JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        present = [rule for rule in rules_of(type(value)) if rule.since <= schema]
        pairs = [(rule, getattr(value, rule.name)) for rule in present]
        return {rule.key: to_tree(part, schema) for rule, part in pairs if not (rule.omitted and part is None)}
    if isinstance(value, list | tuple):
        return [to_tree(part, schema) for part in value]
    if isinstance(value, dict):
        return {key: to_tree(part, schema) for key, part in value.items()}
    return value


@cache
def _taken_apart(kind: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """What a type is made of: its origin, its arguments, and whether it is a dataclass."""
    return get_origin(kind), get_args(kind), is_dataclass(kind) and isinstance(kind, type)


def from_tree(kind: Any, value: Any, where: str = "", schema: int = 1, *, strict: bool = True) -> Any:
    """A value of `kind` from parsed JSON; raises KeyError for a missing key, ValueError for any other mistake.

    With strict=False missing keys get their default, and unknown keys are ignored.
    """
    origin, parts_of_kind, has_fields = _taken_apart(kind)
    if has_fields:
        return _fields_from(kind, value, where, schema, strict)
    if origin is Annotated:
        plain, limits = parts_of_kind
        number = from_tree(plain, value, where, schema, strict=strict)
        return _expect(limits.low <= number <= limits.high, number, where, f"{limits.low:g} to {limits.high:g}")
    if origin in (Union, UnionType):
        return _one_of(parts_of_kind, value, where, schema, strict)
    if origin is Literal:
        known = any(type(value) is type(one) and value == one for one in parts_of_kind)
        return _expect(known, value, where, f"one of {', '.join(map(str, parts_of_kind))}")
    if origin is tuple:
        _expect(isinstance(value, list | tuple), value, where, "a list")
        part = parts_of_kind[0]
        return tuple(from_tree(part, each, f"{where}[{at}]", schema, strict=strict) for at, each in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, dict), value, where, "a mapping")
        parts = {key: (each, f"{where}.{key}") for key, each in value.items()}
        return {key: from_tree(parts_of_kind[1], *part, schema, strict=strict) for key, part in parts.items()}
    return value if kind is Any else _plain(kind, value, where)


def _fields_from(kind: type, value: Any, where: str, schema: int, strict: bool) -> Any:
    _expect(isinstance(value, dict), value, where or "its content", "a mapping")
    rules = {rule.key: rule for rule in rules_of(kind) if rule.since <= schema}
    within = f"{where}." if where else ""
    for key in value:
        if strict and key not in rules:
            raise ValueError(f"{within}{key}: a key that no field has")
    values = {}
    for key, rule in rules.items():
        if key in value and (strict or value[key] is not None):
            _expect(not (rule.omitted and value[key] is None), None, f"{within}{key}", "a value or no such key")
            values[rule.name] = from_tree(rule.kind, value[key], f"{within}{key}", schema, strict=strict)
        elif strict and not rule.omitted:
            raise KeyError(f"{within}{key}")
    return kind(**values)


def _one_of(kinds: tuple[Any, ...], value: Any, where: str, schema: int, strict: bool) -> Any:
    if value is None and NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not NoneType]
    for kind in others[:-1]:
        try:
            return from_tree(kind, value, where, schema, strict=strict)
        except (KeyError, ValueError):
            continue
    return from_tree(others[-1], value, where, schema, strict=strict)


def _plain(kind: type, value: Any, where: str) -> Any:
    accepted = (int, float) if kind is float else kind
    fits = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    _expect(fits, value, where, words[kind])
    return _expect(not isinstance(value, int) or abs(value) <= LARGEST, value, where, "a smaller number")


def _expect(fits: bool, value: Any, where: str, expected: str) -> Any:
    if not fits:
        raise ValueError(f"{where}: {repr(value)[:200]}, expected {expected}")
    return value


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _whole_number(text: str) -> int:
    _finite(text)
    return int(text)


def _refuse(text: str) -> Any:
    raise ValueError(f"{text[:20]}{'…' if len(text) > 20 else ''} is no number")
