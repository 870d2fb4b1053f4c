"""Reading metrics.csv."""

import csv
from pathlib import Path

from ard.core.errors import UserError


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv without empty cells; none where there is no file yet, UserError where it is damaged."""
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [{key: value for key, value in row.items() if value} for row in csv.DictReader(file, strict=True)]
        if any(None in row or int(row["step"]) < 0 for row in rows):
            raise ValueError("a row with too few or too many cells")
        return rows
    except (OSError, csv.Error, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): expected a column `step` of whole numbers; move it away") from error
