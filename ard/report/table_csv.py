"""The table as a CSV file: accuracies as fractions, and text that no spreadsheet takes for a formula."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ard.core.files import write_whole
from ard.report.rows import Row
from ard.report.table import Column, columns


def write_csv(rows: Sequence[Row], differ: Sequence[str], path: Path, more: Sequence[Column] = ()) -> None:
    """The same rows with accuracies as fractions, and `more` columns; an unreliable robust number is marked here, too."""
    all_columns = [*columns(rows, differ), *more]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([_plain_cell(name) for column in all_columns for name in column.csv_names])
    writer.writerows([_plain_cell(cell) for column in all_columns for cell in column.csv_cells(row)] for row in rows)
    write_whole(path, text.getvalue())


def _plain_cell(cell: Any) -> Any:
    """Text that a spreadsheet would take for a formula is marked as text: a name may be of a file of anybody."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
