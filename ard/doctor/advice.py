"""One line of the doctor's table."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

SIGNS = {"ok": "ok", "warning": "**warning**", "error": "**error**"}


@dataclass(frozen=True)
class Advice:
    """What was examined, the result in words, and the verdict; an error makes the doctor exit with status 1."""

    about: str
    message: str
    verdict: Literal["ok", "warning", "error"] = "ok"


def advice_table(advice: Iterable[Advice]) -> str:
    """Markdown."""
    cells = [(f.about, f.message.replace("|", "/"), SIGNS[f.verdict]) for f in advice]
    return "\n".join(["| check | result | verdict |", "|---|---|---|", *(f"| {' | '.join(line)} |" for line in cells)])
