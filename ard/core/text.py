"""Numbers and tables as people read them."""

import re
import unicodedata
from collections.abc import Sequence

DASH = "–"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One line a row below the header; a bar inside a cell is escaped, and no cell begins a line of its own."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def one_line(text: str) -> str:
    """On one line, and printable: a name of a file of anybody begins no paragraph of its own."""
    return printable(" ".join(text.split()))


def printable(line: str) -> str:
    """The line with what a terminal would obey, such as the sequence that clears it, written out; any space stays."""
    return "".join(c if c.isprintable() or _is_harmless(c) else c.encode("unicode_escape").decode() for c in line)


def _is_harmless(character: str) -> bool:
    """Spaces of other widths, and what joins letters or keeps them apart."""
    return unicodedata.category(character) == "Zs" or character in "\u200c\u200d"


def first_few(names: Sequence[object], most: int = 5) -> str:
    """The first names of many, separated by commas."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def first_line(error: object) -> str:
    """The first line of what an exception says, or of a text; "empty" where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else "empty"


def named_error(error: BaseException) -> str:
    """The name of an exception, and the first line of what it says, where it says anything."""
    name = type(error).__name__
    return f"{name}: {first_line(error)}" if str(error).strip() else name


def first_sentence(text: str) -> str:
    """Up to a full stop or question mark that ends a line or stands before a new sentence; all of it where there is none."""
    match = re.match(r"(?s).+?[.?](?=\n|$| [^a-z\d(])", text)
    return " ".join((match[0] if match else text).split())


def percent(fraction: float) -> str:
    """An accuracy as people read it."""
    return f"{100 * fraction:.1f} %"


def percent_within(fraction: float, low: float, high: float) -> str:
    """An accuracy and its interval: 81.2 % [77.1, 84.7]."""
    return f"{percent(fraction)} [{100 * low:.1f}, {100 * high:.1f}]"


def duration(seconds: float | None) -> str:
    """0.32 s, 1 min 12 s, 4 h 10 min; a dash where it is not known."""
    if seconds is None:
        return DASH
    if seconds < 1:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def in_points(fraction: float) -> str:
    """-0.013 -> −1.3."""
    return f"{100 * fraction:+.1f}".replace("-", "−")


def radius(eps: float) -> str:
    """A radius as people write it: a short decimal as it is, otherwise a multiple of 1/255 where it is one."""
    levels = round(min(eps * 255, 1e9))  # a file may say anything
    short = float(f"{eps:.3g}") == eps  # 0.2 is 51/255 too, but nobody means that
    return f"{levels}/255" if levels and not short and abs(eps * 255 - levels) < 1e-3 else f"{eps:g}"
