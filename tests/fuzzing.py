"""Bad input made at random, and the law it must meet: an answer, or one line and status 2 with nothing written.

`ARD_FUZZ=100 pytest tests/*/test_fuzz_*.py` tries a hundred times as much, and not the same every time.
"""

import copy
import io
import os
from contextlib import redirect_stderr, redirect_stdout

from hypothesis import HealthCheck, settings
from in_time import in_time

from ard.__main__ import main
from ard.core.errors import LONGEST, UserError

TIMES = int(os.environ.get("ARD_FUZZ", "1"))
HUGE = 10**9
NUMBERS = (0, -1, 1, 2, 7, HUGE, -HUGE, 10**30, 0.5, -0.0, 1e-300, 1e308, float("nan"), float("inf"), -float("inf"))
WORDS = (
    "",
    " ",
    "x",
    "ResNet",
    "8/255",
    "1/0",
    "nan",
    "1e999",
    "null",
    "../..",
    "/",
    "\x00",
    "ａrd.models.ResNet",
    "ß" * 300,
)
NAMES = (
    "os.system",
    "builtins.eval",
    "torch.nn.Linear",
    "ard.models.load",
    "ard.models.ResNet",
    "ard.models.Frozen",
    "ard.models.Normalized",
    "ard.models.__builtins__",
    "ard.models._secret",
    "ard.data.Digits",
    "ard.attacks.PGD",
    "ard.objectives.natural.Natural",
    "ard..models.ResNet",
    "ard.models.",
    ".",
)


def tried(count):
    """Settings of a test that tries so many inputs, the same ones every time unless ARD_FUZZ asks for more."""
    unhurried = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large)
    return settings(
        max_examples=count * TIMES, deadline=None, derandomize=TIMES == 1, database=None, suppress_health_check=unhurried
    )


def odd(draw):
    """A value that hardly anybody expects."""
    kind = draw.randint(0, 5)
    if kind == 0:
        return draw.choice((None, True, False))
    if kind == 1:
        return draw.choice(NUMBERS)
    if kind == 2:
        return draw.choice(WORDS)
    if kind == 3:
        return draw.choice(NAMES)
    if kind == 4:
        return draw.choice(([], [None], [[]], {}, {"": None}, {"class_path": None}, {"init_args": {}}, [1, "2", None]))
    return {"class_path": draw.choice(NAMES), "init_args": draw.choice(({}, None, [], {"x": 1}, {"width": HUGE}))}


def odd_like(value, draw):
    """A value of the same type that hardly anybody expects: it passes a parser and reaches a constructor."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return draw.choice((*(number for number in NUMBERS if isinstance(number, int)), value + 1, -value))
    if isinstance(value, float):
        return draw.choice((*NUMBERS, -value))
    if isinstance(value, str):
        return draw.choice((*WORDS, *NAMES, value + "x", value.upper()))
    if isinstance(value, list):
        return draw.choice(([], value[:1], value + value, [odd_like(part, draw) for part in value]))
    return {}


def branches(tree):
    """Every place of a tree as (its parent, its key)."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from branches(value)


def mutated(tree, draw, most=3):
    """A copy of a tree of dicts and lists with up to `most` places changed, dropped, renamed, nested or swapped."""
    tree = {"": copy.deepcopy(tree)}
    for _ in range(draw.randint(1, most)):
        places = list(branches(tree))
        parent, key = draw.choice(places)
        change = draw.randint(-4, 6)
        if change < 0:
            leaves = [(p, k) for p, k in places if not isinstance(p[k], dict)] or places
            parent, key = draw.choice(leaves)
            parent[key] = odd_like(parent[key], draw)
        elif change <= 2:
            parent[key] = odd(draw)
        elif change == 3 and isinstance(parent, dict) and key:
            parent[misspelt(str(key), draw)] = parent.pop(key)
        elif change == 4 and key != "":
            del parent[key]
        elif change == 5:
            parent[key] = draw.choice(([parent[key]], {"x": parent[key]}, [parent[key]] * 3))
        else:
            other, there = draw.choice(places)
            parent[key] = copy.deepcopy(other[there])
    return tree.get("")


def misspelt(word, draw):
    """A key as somebody types it in a hurry."""
    at = draw.randint(0, max(0, len(word) - 1))
    return draw.choice((word[:at] + word[at + 1 :], word + "s", word.upper(), f"{word[:at]}.{word[at:]}", f" {word}"))


def damaged(data, draw, other=b""):
    """Bytes flipped, cut, doubled, overwritten, or spliced with those of another file."""
    data = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, max(0, len(data) - 1))
        if draw.randint(0, 1):
            at = min(at, draw.randint(0, 400))  # headers are where the danger is
        length = draw.choice((1, 1, 2, 8, 64, 1000))
        change = draw.randint(0, 5)
        if change == 0 and data:
            data[at] ^= 1 << draw.randint(0, 7)
        elif change == 1:
            del data[at:]
        elif change == 2:
            del data[at : at + length]
        elif change == 3:
            data[at : at + length] = bytes(draw.choice((0, 255, 65)) for _ in range(min(length, 8)))
        elif change == 4:
            data[at:at] = data[at : at + length]
        else:
            data[at:] = other[draw.randint(0, len(other)) :]
    return bytes(data)


def tree_of(folder):
    """Every file below a folder, with its content."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def read_or_refused(read, *arguments):
    """What reading gives, None where it is refused in one line of printable characters."""
    told = None
    with in_time():
        try:
            return read(*arguments)
        except UserError as error:
            told = str(error)
    assert told.isprintable(), told
    assert len(told) <= LONGEST, told
    return None


def answered(folder, *arguments, statuses=(0, 2, 3, 4)):
    """Exit status, output and error of a command that meets the law: no exception leaves `main`, see above."""
    before, out, err = tree_of(folder), io.StringIO(), io.StringIO()
    with in_time(), redirect_stdout(out), redirect_stderr(err):
        status = main([str(argument) for argument in arguments])
    said, told = out.getvalue(), err.getvalue()
    assert "Traceback" not in said + told
    assert status in statuses, status
    if status == 2:
        assert told.startswith("ard: "), told
        assert told.count("\n") == 1, told
        assert told[:-1].isprintable(), told
        assert tree_of(folder) == before
    return status, said, told
