"""`ard compare`."""

from pathlib import Path

from ard.artifacts.paths import records_below
from ard.cli.messages import show
from ard.report.pictures.formats import formats_of


def compare_runs(
    directories: list[str],
    out: str | None = None,
    mixed: bool = False,
    last: bool = False,
    baseline: str | None = None,
    ladders: str | None = None,
    formats: str = "png",
    published: bool = False,
) -> int:
    """Put the records below run directories side by side: table.md, table.csv and a picture.

    Args:
        directories: run directories, or folders of them such as checkpoints/digits.
        out: where to write; by default the first directory.
        mixed: allow rows with different data, eps, suite or number of images.
        last: take the last epochs alone instead of the selected ones, whose choice on validation images adds noise.
        baseline: the method that differences are taken to; by default the strongest one without a teacher.
        ladders: rows separated by commas, each told one thing more than the one before: what every step is worth; the next
            list of rows begins after a colon.
        formats: of the picture, one or several of png, svg and pdf, separated by commas; papers want svg or pdf.
        published: add what papers have for the same recipe, data, network and attack (configs/published.yaml), and how far
            ours is from it.
    """
    kinds = formats_of(formats)
    paths = [Path(directory) for directory in directories]
    for path in paths:
        records_below(path)  # a wrong name is told before numpy is imported
    from ard.report.comparison import compare_records
    from ard.report.published import entries

    rungs = [[name.strip() for name in part.split(",")] for part in ladders.split(":")] if ladders is not None else []
    place, known = Path(out or directories[0]), entries() if published else None
    table = compare_records(
        paths, place, mixed=mixed, last=last, baseline=baseline, ladders=rungs, formats=kinds, published=known
    )
    show(table)
    return 0
