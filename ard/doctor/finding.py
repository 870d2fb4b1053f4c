"""What the doctor says of one thing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SIGNS = {"ok": "ok", "warning": "**warning**", "error": "**error**"}


@dataclass(frozen=True)
class Finding:
    """One line of the table; an error ends the doctor with a status of its own."""

    about: str
    found: str
    verdict: Literal["ok", "warning", "error"] = "ok"


def table(findings: Iterable[Finding]) -> str:
    """Markdown."""
    cells = [(f.about, f.found.replace("|", "/"), SIGNS[f.verdict]) for f in findings]
    return "\n".join(["| check | found | verdict |", "|---|---|---|", *(f"| {' | '.join(line)} |" for line in cells)])


def percent(fraction: float) -> str:
    """An accuracy as people read it."""
    return f"{100 * fraction:.1f} %"


def duration(seconds: float) -> str:
    """Two significant units at most: 8 s, 3 min, 4 h 10 min."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
