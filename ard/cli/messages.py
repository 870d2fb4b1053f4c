"""Output on the terminal: tables, warnings, and which warnings of libraries are hidden."""

import logging
import sys
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ard.core.supervision import is_first_of_node
from ard.core.terminal import console, say
from ard.core.text import printable

PACKAGE, USUAL = str(Path(__file__).parents[1]), warnings.formatwarning


def show(markdown: str) -> None:
    """A table that fits a terminal, or the Markdown itself where the output is a file."""
    from rich.markdown import Markdown

    markdown = "\n".join(printable(line) for line in markdown.split("\n"))  # names in it are of files of anybody
    screen = console()
    if screen.is_terminal:
        screen.print(Markdown(markdown))
    else:
        say(markdown)


def quiet() -> None:
    """Hide advertisements, deprecations and warnings about image headers of libraries; print our warnings in one line."""
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", module="lightning_fabric")
    warnings.filterwarnings("ignore", message="reduction: 'mean' divides")  # as the released codes do
    warnings.filterwarnings("ignore", module="PIL")  # a file whose pixels cannot be read is an error of ours
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if not is_first_of_node():  # which prints for all
        warnings.filterwarnings("ignore", category=UserWarning, module=r"ard\.")
    warnings.formatwarning = _one_line  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a "−" ends no command where the encoding does not know it


def _one_line(message: Warning | str, category: type[Warning], filename: str, *place: Any) -> str:
    if filename.startswith(PACKAGE):
        return f"ard: warning: {printable(str(message))}\n"
    return USUAL(message, category, filename, *place)
