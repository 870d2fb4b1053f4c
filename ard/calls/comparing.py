"""`ard.compare`: records side by side, as `ard compare` puts them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ard.artifacts.paths import RECORD, RunFolder
from ard.artifacts.record import Record
from ard.calls.arguments import known_arguments
from ard.calls.fitting import FitResult
from ard.core.errors import UserError
from ard.report.comparison import Comparison
from ard.report.grouping import load_records
from ard.report.pictures.formats import formats_of
from ard.report.published import entries
from ard.report.rows import StoredRecord

Compared = str | Path | FitResult | Record


@known_arguments
def compare(
    runs: Compared | Sequence[Compared] | Mapping[str, Compared],
    *,
    out: str | Path | None = None,
    mixed: bool = False,
    last: bool = False,
    baseline: str | None = None,
    ladders: Sequence[Sequence[str]] = (),
    formats: str = "png",
    published: bool = False,
) -> Comparison:
    """Evaluated runs as one table, with their differences: `print` it, or take `to_markdown()`.

    Args:
        runs: Folders of runs, or of many runs, what `fit` returned, or records. A record of a network in memory does not say
            what it is of: give it a name, as in {"mine": record, "baseline": "checkpoints/digits/pgd_at"}. Names are those
            of the rows; a folder of several methods keeps theirs.
        out: A folder for table.md, table.csv and a picture, as `ard compare` writes them; by default nothing is written.
        mixed: Allow rows with different data, threat, suite or number of images.
        last: Take the last epochs alone instead of the selected ones, whose choice on validation images adds noise.
        baseline: The method that differences are taken to; by default the strongest one without a teacher.
        ladders: Lists of rows, of which each is compared with the one before it: what the one thing more is worth that it is
            told.
        formats: Of the picture: one or several of png, svg and pdf, separated by commas.
        published: Add what papers have for the same recipe, data, network and attack, and how far ours is from it.

    Raises:
        UserError: Where a folder holds no record, and unless `mixed` where two records measured different things.
    """
    runs = [runs] if isinstance(runs, str | Path | FitResult | Record) else runs
    if not isinstance(runs, Iterable):
        raise UserError(f"runs = {runs!r}: expected folders of runs, or records")
    named = runs if isinstance(runs, Mapping) else {f"record {place}": run for place, run in enumerate(runs, 1)}
    if not named:
        raise UserError("nothing to compare: expected folders of runs, or records")
    for name in named:
        if not isinstance(name, str):
            raise UserError(f"{name!r} is no name of a row: expected a text")
    records = [record for name, run in named.items() for record in _records(name, run, is_title=named is runs)]
    folders = [_folder(run) for run in named.values() if not isinstance(run, Record)]
    kinds = formats_of(formats)
    known = entries() if published else None
    comparison = Comparison.of(
        records, mixed=mixed, last=last, baseline=baseline, ladders=ladders, folders=folders, published=known
    )
    if out is not None:
        comparison.write(RunFolder.of(out).root, kinds)
    return comparison


def _records(name: str, run: Compared, *, is_title: bool) -> list[StoredRecord]:
    if isinstance(run, Record):
        return [StoredRecord(Path(name, RECORD), run, title=name if is_title else None)]
    found = load_records([_folder(run)])
    is_one = len({one.name for one in found}) == 1
    return [replace(one, title=name) for one in found] if is_title and is_one else found


def _folder(run: str | Path | FitResult) -> Path:
    return run.folder if isinstance(run, FitResult) else RunFolder.of(run).root
