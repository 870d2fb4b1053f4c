"""From records to a table, a list of differences and a picture; reads files only."""

from collections.abc import Sequence
from pathlib import Path

from ard.errors import UserError
from ard.report.differences import differences_table
from ard.report.figure import draw
from ard.report.records import differing, group, load
from ard.report.table import flattery_line, main_table, settings_line, write_csv

__all__ = ["compare"]


def compare(directories: Sequence[Path], output: Path, *, mixed: bool = False, baseline: str | None = None) -> str:
    """Write table.md, table.csv and tradeoff.png of all records below `directories` into `output`; return table.md.

    `baseline` names the method that differences are taken to (default: the strongest one without a teacher). Raises
    UserError where there are no records, one is damaged, or, unless `mixed`, two of them measured different things.
    """
    records = load(directories)
    differ = differing(records, mixed=mixed)
    if differ and baseline:
        raise UserError(f"--baseline {baseline}: these records differ in {', '.join(differ)}; expected comparable ones")
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file; expected a folder to write the tables to")
    rows = group(records)
    parts = [main_table(rows, differ), settings_line(rows, differ)]
    if flattery := flattery_line(rows, differ):
        parts.append(flattery)
    if not differ:
        parts.append(differences_table(rows, baseline))
    output.mkdir(parents=True, exist_ok=True)
    picture = output / "tradeoff.png"
    parts.append(f"Picture: {picture}. {draw(rows, differ, picture)}")
    text = "\n\n".join(parts) + "\n"
    (output / "table.md").write_text(text)
    write_csv(rows, differ, output / "table.csv")
    return text
