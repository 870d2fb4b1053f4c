"""Which checks warned stands below the table, by row."""

from pathlib import Path

import pytest
from small_records import cells, checks, differences, first, write

from ard.report.comparison import compare_records

pytestmark = pytest.mark.usefixtures("no_picture")
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
    assert notes(compare_records([study], study / "out"))[0].startswith(f"{HEAD}: trades O4; ard (last) O20. The checks: O4")


def test_without_warnings_there_is_no_line(study: Path) -> None:
    assert notes(compare_records([study / "pgd_at"], study / "out")) == []


@pytest.fixture
def with_constant(study: Path) -> Path:
    """And a row that answers one class: the most robust of all."""
    for seed in (0, 1, 2):
        write(study / f"constant/seed{seed}/evaluation.json", first(0.95), first(0.95), **warned("O20"))
        write(study / f"pgd_at/seed{seed}/evaluation.json", first(0.9), first(0.6))
        write(study / f"mart/seed{seed}/evaluation.json", first(0.89), first(0.7))
    return study


def test_a_row_at_chance_is_never_the_best(with_constant: Path) -> None:
    """Not the first, not bold, no baseline, and not called above one: no attack hurts a network that names one class."""
    text = compare_records([with_constant], with_constant / "out")
    methods = [line.split(" | ")[0].strip("| ") for line in text.splitlines() if line.startswith("| ")]
    assert [name for name in methods if name in ("ard", "mart", "constant")][:3] == ["ard", "mart", "constant"]
    assert "**" not in cells(text, "constant")["Worst"] + cells(text, "constant")["Clean"]
    assert "| Method − mart |" in text or "| Method − ard |" in text
    assert differences(text, "constant")[1].endswith("at chance")
    assert "whatever it sees (O20)" in text
    assert "constant" not in next(line for line in text.splitlines() if line.startswith("Above "))


def test_nothing_is_called_better_than_a_baseline_at_chance(with_constant: Path) -> None:
    text = compare_records([with_constant], with_constant / "out", baseline="constant")
    assert differences(text, "mart")[1].endswith("at chance")
    assert "Above constant in the worst case, significantly: none" in text


def test_a_setting_at_chance_is_no_knobs_best(tmp_path: Path) -> None:
    for beta, robust, more in ((1, 0.95, warned("O20")), (3, 0.6, {}), (6, 0.5, {})):
        write(tmp_path / f"s/trades-beta-{beta}/seed0/evaluation.json", first(0.96), first(robust), **more)
    text = compare_records([tmp_path], tmp_path / "out")
    assert "| 60.0 (3) |" in text
    assert "95.0 (1)" not in text


def test_a_ladder_of_which_no_row_is_reliable_has_a_table_and_no_picture(tmp_path: Path) -> None:
    failing = {"checks": checks(O10="fail"), "verdict": "unreliable"}
    for name in ("pgd_at", "ard"):
        write(tmp_path / f"study/{name}/seed0/evaluation.json", first(0.9), first(0.7), **failing)
    text = compare_records([tmp_path / "study"], tmp_path / "out", ladders=[["pgd_at", "ard"]])
    assert "| pgd_at → ard |" in text
    assert "The ladder:" not in text
    assert not (tmp_path / "out/ladder.png").exists()
