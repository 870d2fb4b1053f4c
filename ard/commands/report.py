"""`ard report`."""

from pathlib import Path

from ard.core.errors import UserError
from ard.core.terminal import say


def report(directory: str, baseline: str | None = None) -> int:
    """Make one HTML page of a run or a study, from its files alone: DIRECTORY/report.html, which needs no network.

    Args:
        directory: the folder of a run, or of a study, each run of which gets a page of its own.
        baseline: the method that differences are taken to; by default the strongest one without a teacher.
    """
    folder = Path(directory)
    if not folder.is_dir():
        kind = "a file" if folder.is_file() else "not there"
        raise UserError(f"{directory} is {kind}; expected the folder of a run or of a study, such as checkpoints/digits")
    from ard.report.page.writing import write_pages

    first, *others = write_pages(folder, baseline=baseline)
    say(f"{first}{f' and the pages of {len(others)} runs' if others else ''}")
    return 0
