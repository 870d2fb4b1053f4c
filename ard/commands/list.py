"""`ard list`: what there is to choose from."""

import shutil
import sys
import textwrap
from collections.abc import Sequence

from ard.cli.known_classes import GROUPS, known_classes
from ard.configs.catalogue import KINDS, about, find, names
from ard.core.errors import UserError
from ard.core.suggestions import did_you_mean
from ard.core.terminal import say

LISTS = (*KINDS, *GROUPS)
INDENT = 2 + max(map(len, LISTS))
HINT = "`ard list GROUP` says what each is, `ard config NAME` prints a config."
HELP = f"""usage: ard list [GROUP]

What comes with ard, by name: its configs, and the classes that a config may name; with a group, a line each.

Groups: {", ".join(LISTS)}
"""


def list_known(words: Sequence[str]) -> int:
    """Print the names of every group, or what each of one group is; `words` are the verb and perhaps the group."""
    groups = words[1:]
    if {"-h", "--help"} & set(groups):
        say(HELP.rstrip())
    elif not groups:
        say("\n".join([*map(_brief, LISTS), "", HINT]))
    elif len(groups) > 1 or groups[0] not in LISTS:
        given = " ".join(groups)
        end = did_you_mean(given, LISTS) or f"; expected one of {', '.join(LISTS)}"
        raise UserError(f"no group {given!r}{end}")
    else:
        rows = _rows(groups[0])
        width = max(map(len, rows))
        say("\n".join(_cropped(f"{name:<{width}}  {sentence}") for name, sentence in rows.items()))
    return 0


def _rows(group: str) -> dict[str, str]:
    return {name: about(find(f"{group}/{name}")) for name in names(group)} if group in KINDS else known_classes(group)


def _brief(group: str) -> str:
    words = names(group) if group in KINDS else list(known_classes(group))
    return textwrap.fill(
        f"{group:<{INDENT}}{', '.join(words)}", _columns() or 100, subsequent_indent=" " * INDENT, break_on_hyphens=False
    )


def _cropped(line: str) -> str:
    """As wide as the terminal; whole where the output is a file."""
    columns = _columns()
    return line if columns is None or len(line) <= columns else line[: columns - 1] + "…"


def _columns() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
