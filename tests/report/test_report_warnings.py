"""Which checks warned stands below the table, by row."""

from pathlib import Path

import pytest
from small_records import checks, first, write

from ard.report.comparison import compare_records

HEAD = "Warnings of the soundness checks (docs/evaluation.md)"


def warned(*names: str) -> dict[str, object]:
    return {"checks": checks(V1="pass", O3="skipped", **dict.fromkeys(names, "warn")), "verdict": "warnings"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two seeds that warn of different things, a last checkpoint that warns too, and a row that is sound."""
    root = tmp_path / "study"
    write(root / "ard/seed0/evaluation.json", first(0.9), first(0.8), **warned("O18", "O4"))
    write(root / "ard/seed1/evaluation.json", first(0.9), first(0.8), **warned("O4", "M8"))
    write(root / "ard/seed0/last.evaluation.json", first(0.9), first(0.8), **warned("O20"))
    write(root / "trades/seed0/evaluation.json", first(0.9), first(0.7), **warned("O4"))
    write(root / "pgd_at/seed0/evaluation.json", first(0.9), first(0.6))
    return root


def notes(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("Warnings")]


def test_rows_that_warned_are_named_once_with_the_union_over_seeds(study: Path) -> None:
    assert notes(compare_records([study], study / "out")) == [
        "Warnings of the soundness checks (docs/evaluation.md): ard M8 O4 O18; trades O4. The checks: M8 saturated "
        "probabilities, O4 margin losses beat cross entropy, O18 PGD-20 far above AutoAttack."
    ]


def test_last_checkpoints_are_named_where_there_is_no_best_one(study: Path) -> None:
    for path in (study / "ard").rglob("evaluation.json"):
        path.unlink()
    assert notes(compare_records([study], study / "out"))[0].startswith(f"{HEAD}: ard (last) O20; trades O4. The checks: O4")


def test_without_warnings_there_is_no_line(study: Path) -> None:
    assert notes(compare_records([study / "pgd_at"], study / "out")) == []
