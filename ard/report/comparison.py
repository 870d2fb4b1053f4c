"""From records to a table, a list of differences and a picture; reads files only."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ard.artifacts.paths import StudyFolder, runs_without_record
from ard.artifacts.record import Repetition
from ard.core.errors import UserError
from ard.core.files import or_user_error, write_whole
from ard.core.text import first_few, one_line
from ard.report.attack_sets import attack_sets_line
from ard.report.differences import DifferenceTable, differences_table, reference_of, rungs_of, students
from ard.report.grouping import differing, group, load_records
from ard.report.knobs import knobs_of
from ard.report.pictures.formats import PNG
from ard.report.pictures.frontier import draw_frontier, matched_table
from ard.report.pictures.gains import draw_gains, gains_of, taught_by_several
from ard.report.pictures.ladders import draw_ladders, reliable
from ard.report.pictures.marks import caption
from ard.report.pictures.ranking import draw_ranking
from ard.report.pictures.seconds import draw_seconds, timed_rows
from ard.report.pictures.tradeoff import draw_tradeoff
from ard.report.published import Entry
from ard.report.published_table import published_columns, published_part
from ard.report.rows import Row, StoredRecord
from ard.report.same_weights import same_weights_line
from ard.report.table import (
    folders_line,
    main_table,
    overestimation_line,
    rehearsed_line,
    settings_line,
    spread_words,
    upper_bounds_line,
    warnings_line,
)
from ard.report.table_csv import write_csv

MOST_IN_PLANE = 14  # methods whose names still find a place in the plane of clean and worst-case accuracy
DRAWN = {"frontier": draw_frontier, "ranking": draw_ranking, "tradeoff": draw_tradeoff}


@dataclass(frozen=True)
class Comparison:
    """Records side by side; `print` shows the table, and so does a notebook."""

    rows: list[Row]
    differ: list[str]
    baseline: str | None
    left_out: str  # which runs are not in it, in words
    ladders: Sequence[Sequence[str]] = ()  # rows of which each is told one thing more than the one before
    published: Sequence[Entry] | None = None  # what papers have, where that is asked for

    @classmethod
    def of(
        cls,
        found: Sequence[StoredRecord],
        *,
        mixed: bool = False,
        last: bool = False,
        baseline: str | None = None,
        ladders: Sequence[Sequence[str]] = (),
        folders: Sequence[Path] = (),
        published: Sequence[Entry] | None = None,
    ) -> "Comparison":
        """Of the records that `folders` were searched for, without those of other weights than lie beside them now.

        Raises UserError where none is left, and unless `mixed` where two measured different things; see compare_records.
        """
        records = [stored for stored in found if not stored.is_stale]
        if not records:
            raise UserError(
                f"{found[0].path} is of other weights than those beside it: evaluate these, or move the record away"
            )
        differ = differing(records, mixed=mixed)
        for option in [f"--baseline {baseline}"] * bool(baseline) + ["--ladders"] * bool(ladders):
            if differ:
                raise UserError(f"{option}: these records differ in {', '.join(differ)}; expected comparable ones")
        stale = [stored.path for stored in found if stored.is_stale]
        rows = group(records)
        kept = of_last_epochs(rows) if last else rows
        left_out = " ".join(filter(None, [left_out_line(folders, stale), without_last_line(rows, kept)]))
        return cls(kept, differ, baseline, left_out, ladders, published)

    @property
    def notes(self) -> list[str]:
        """What a reader has to know beside the settings."""
        rows, differ = self.rows, self.differ
        lines = [overestimation_line(rows, differ), upper_bounds_line(rows, differ), warnings_line(rows, differ)]
        lines += [attack_sets_line(rows), "" if differ else same_weights_line(rows), folders_line(rows), self.left_out]
        return [line for line in lines if line]

    def to_markdown(self) -> str:
        """The table, and below it the notes and differences."""
        rows, differ = self.rows, self.differ
        settings = settings_line(rows, differ) + spread_words(rows)
        parts = [main_table(rows, differ), *map(one_line, filter(None, [settings, *self.notes]))]
        if self.published is not None:
            parts.append(published_part(rows, self.published))
        if not differ:
            parts.append(differences_table(rows, self.baseline))
        if self.ladders:
            parts.append(DifferenceTable.of_ladders(rows, self.ladders).to_markdown())
        if knobs_of(rows):
            parts.append(matched_table(rows))
        return "\n\n".join(filter(None, [rehearsed_line(rows), *parts])) + "\n"

    def write(self, output: Path, formats: Sequence[str] = (PNG,)) -> str:
        """Write table.md, table.csv and a picture into a folder; return table.md, which names the picture, too."""
        if output.exists() and not output.is_dir():
            raise UserError(f"{output} is a file; expected a folder to write the tables to")
        table = self.to_markdown()
        with or_user_error(output):
            output.mkdir(parents=True, exist_ok=True)
        said = [self._draw(output, formats), _time_picture(self.rows, self.differ, output, formats)]
        text = table + "\n" + "\n\n".join(filter(None, said)) + "\n"
        if ladders := reliable(rungs_of(self.rows, self.ladders)):
            steps = [StudyFolder(output).picture("ladder", kind) for kind in formats]
            draw_ladders(ladders, *steps)
            text += f"\nThe ladder: {', '.join(map(str, steps))}.\n"
        text += self._draw_gains(output, formats)
        write_whole(StudyFolder(output).table, text)
        more = published_columns(self.rows, self.published or ())
        write_csv(self.rows, self.differ, StudyFolder(output).table_csv, more if self.published is not None else ())
        return text

    @property
    def picture(self) -> str:
        """Which suits the rows: knobs that were swept, methods in the plane, or in lines where they are too many for it."""
        if knobs_of(self.rows):
            return "frontier"
        return "ranking" if len({row.method for row in self.rows}) > MOST_IN_PLANE else "tradeoff"

    def _draw(self, output: Path, formats: Sequence[str]) -> str:
        """Draw the rows, and say where, and what the bars are; one run alone has nothing beside it, and no picture."""
        if len({row.among(self.differ) for row in self.rows}) == 1:
            return "No picture: there is one run alone."
        pictures = [StudyFolder(output).picture(self.picture, kind) for kind in formats]
        DRAWN[self.picture](self.rows, self.differ, *pictures)
        return f"Picture: {', '.join(map(str, pictures))}. {caption(self.rows)}"

    def _draw_gains(self, output: Path, formats: Sequence[str]) -> str:
        """Draw what students of several teachers are above a baseline that has none, and say where."""
        baseline = None if self.differ else reference_of(self.rows, self.baseline)
        taught = taught_by_several(self.rows)
        if baseline is None or baseline.teacher is not None or baseline.warning or not taught:
            return ""
        pictures = [StudyFolder(output).picture("gains", kind) for kind in formats]
        drawn, over = [row for pairs in taught.values() for row, _ in pairs], f"− {baseline.label}"
        draw_gains(gains_of(taught, baseline), drawn, f"the teacher {over}", f"the student {over}", *pictures)
        return f"\nWhat each teacher is worth: {', '.join(map(str, pictures))}.\n"

    __str__ = _repr_markdown_ = to_markdown


def of_last_epochs(rows: Sequence[Row]) -> list[Row]:
    """Those of students that nobody selected, and the teachers; raises UserError where no student has one."""
    found = [row for row in rows if row.is_last or row.is_teacher]
    if all(row.is_teacher for row in found):
        raise UserError("--last: no record of a last epoch; expected one, of `ard evaluate DIR/last.safetensors`")
    return found


def compare_records(
    directories: Sequence[Path],
    output: Path,
    *,
    mixed: bool = False,
    last: bool = False,
    baseline: str | None = None,
    ladders: Sequence[Sequence[str]] = (),
    formats: Sequence[str] = (PNG,),
    published: Sequence[Entry] | None = None,
) -> str:
    """Write table.md, table.csv and a picture of all records below `directories` into `output`; return table.md.

    With `last`, the students are those of last epochs, which nobody selected. `baseline` names the method that
    differences are taken to (default: the strongest one without a teacher), `ladders` are lists of rows of which each is
    compared with the one before it, `formats` the kinds of files of the picture, `published` what papers have, to be put
    beside ours. Raises UserError where there are no records, one is damaged, or, unless `mixed`, two of them measured
    different things.
    """
    records = load_records(directories)
    compared = Comparison.of(
        records, mixed=mixed, last=last, baseline=baseline, ladders=ladders, folders=directories, published=published
    )
    return compared.write(output, formats)


def left_out_line(directories: Sequence[Path], stale: Sequence[Path] = ()) -> str:
    """Which runs are not in the table: nobody evaluated them, or not these weights; empty where there are none."""
    runs = [path for folder in directories for path in runs_without_record(folder)]
    parts = [_named(runs, "without a record"), _named(stale, "of other weights than those beside it")]
    return f"Left out, {'; '.join(filter(None, parts))}; `ard evaluate` writes one." if any(parts) else ""


def without_last_line(rows: Sequence[Row], kept: Sequence[Row]) -> str:
    """Which runs are not among the kept rows of last epochs, since theirs was not evaluated; empty without one."""
    missing = {method: runs - _runs(kept)[method] for method, runs in _runs(rows).items()}
    words = [_of_runs(method, len(of), len(_runs(rows)[method])) for method, of in missing.items() if of]
    return f"Left out, without a record of the last epoch: {', '.join(words)}." if words else ""


def _runs(rows: Sequence[Row]) -> defaultdict[str, set[Repetition]]:
    """The runs of each method, whichever checkpoint of them has a record."""
    found: defaultdict[str, set[Repetition]] = defaultdict(set)
    for row in rows:
        found[row.method] |= {record.repetition for record in row.records}
    return found


def _of_runs(method: str, some: int, all_of_them: int) -> str:
    return method if some == all_of_them else f"{method} ({some} of {all_of_them} runs)"


def _named(paths: Iterable[Path], what: str) -> str:
    names = list(dict.fromkeys(path.as_posix() for path in paths))
    return f"{len(names)} {what}: {first_few(names)}" if names else ""


def _time_picture(rows: Sequence[Row], differ: Sequence[str], output: Path, formats: Sequence[str]) -> str:
    """Accuracy against seconds of training, where at least two rows of one device say these."""
    if len(timed := timed_rows(rows)) < 2:
        return ""
    pictures = [StudyFolder(output).picture("seconds", kind) for kind in formats]
    draw_seconds(timed, differ, *pictures)
    missing = ", ".join(row.label for row in students(rows) if row not in timed)
    without = f" Without {missing}." if missing else ""
    return f"Picture of accuracy against seconds of training: {', '.join(map(str, pictures))}.{without}"
