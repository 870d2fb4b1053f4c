"""What the doctor says of one thing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SIGNS = {"ok": "ok", "warning": "**warning**", "error": "**error**"}


@dataclass(frozen=True)
class Advice:
    """One line of the table; an error ends the doctor with a status of its own."""

    about: str
    found: str
    verdict: Literal["ok", "warning", "error"] = "ok"


def advice_table(findings: Iterable[Advice]) -> str:
    """Markdown."""
    cells = [(f.about, f.found.replace("|", "/"), SIGNS[f.verdict]) for f in findings]
    return "\n".join(["| check | found | verdict |", "|---|---|---|", *(f"| {' | '.join(line)} |" for line in cells)])
