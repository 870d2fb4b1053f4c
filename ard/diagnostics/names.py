"""The names of all diagnostics and their groups, read from the files that have them: a typo needs no torch to be refused."""

from pathlib import Path

from ard.core.errors import UserError
from ard.core.suggestions import did_you_mean

EVERYTHING = "all"


def groups() -> dict[str, str]:
    """Name of a diagnostic -> its group: a file in the folder of the group."""
    files = sorted(Path(__file__).parent.glob("*/[!_]*.py"))
    return {file.stem: file.parent.name for file in files}


def named(words: list[str]) -> list[str]:
    """The diagnostics that words name: each is a diagnostic, a group, or "all"; raises UserError for another word."""
    known = groups()
    words_known = [EVERYTHING, *dict.fromkeys([*known.values(), *known])]
    for word in words:
        if word not in words_known:
            expected = f"expected some of {', '.join(words_known)}"
            raise UserError(
                f"--only {word}: no diagnostic or group of that name, {expected}{did_you_mean(word, words_known)}"
            )
    return [name for name, group in known.items() if {EVERYTHING, name, group} & set(words)]
