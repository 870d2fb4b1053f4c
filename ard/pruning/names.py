"""The names of all ways to prune, read from the files that have them: a typo needs no torch to be refused."""

from pathlib import Path

from ard.core.errors import UserError
from ard.core.suggestions import did_you_mean


def ways() -> dict[str, str]:
    """Name of a way -> the file and function that it is: `random` is random_edges of ways/random_edges.py."""
    files = sorted((Path(__file__).parent / "ways").glob("[!_]*.py"))
    return {file.stem.partition("_")[0]: file.stem for file in files}


def check_way(how: str) -> None:
    """Raises UserError for a name that is none."""
    if how not in ways():
        raise UserError(f"--how {how}: expected one of {', '.join(ways())}{did_you_mean(how, ways())}")
