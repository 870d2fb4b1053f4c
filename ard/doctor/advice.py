"""One line of the doctor's table."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ard.core.text import markdown_table

SIGNS = {"ok": "ok", "warning": "**warning**", "error": "**error**"}


@dataclass(frozen=True)
class Advice:
    """What was examined, the result in words, and the verdict; an error makes the doctor exit with status 1."""

    about: str
    message: str
    verdict: Literal["ok", "warning", "error"] = "ok"


def advice_table(advice: Iterable[Advice]) -> str:
    """Markdown."""
    return markdown_table(["check", "result", "verdict"], [[f.about, f.message, SIGNS[f.verdict]] for f in advice])
