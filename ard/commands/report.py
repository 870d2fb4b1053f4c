"""`ard report`."""

from pathlib import Path

from ard.core.errors import UserError
from ard.core.files import write_whole
from ard.core.terminal import say


def report(directory: str, baseline: str | None = None, last: bool = False, model_card: bool = False) -> int:
    """Make one HTML page of a run or a study, from its files alone: DIRECTORY/report.html, which needs no network.

    Args:
        directory: the folder of a run, or of a study, each run of which gets a page of its own.
        baseline: the method that differences are taken to; by default the strongest one without a teacher.
        last: compare the last epochs of students, which nobody selected.
        model_card: write evaluation.model_card.md beside every record, too: README.md of a repository on Hugging Face, with
            the record's numbers as `model-index`; and RobustBench's entry anew.
    """
    folder = Path(directory)
    if not folder.is_dir():
        kind = "a file" if folder.is_file() else "not there"
        raise UserError(f"{directory} is {kind}; expected the folder of a run or of a study, such as checkpoints/digits")
    from ard.report.model_card import model_cards
    from ard.report.page.writing import write_pages

    cards = model_cards(folder) if model_card else {}
    first, *others = write_pages(folder, baseline=baseline, last=last)
    say(f"{first}{f' and the pages of {len(others)} runs' if others else ''}")
    for path, text in cards.items():
        write_whole(path, text)
        say(str(path))
    return 0
