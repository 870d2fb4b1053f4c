#!/usr/bin/env python3
"""Write the tables between the documents' markers anew, from records and from code; --check only says whether they agree.

A recipe that the table of methods has no row for is no disagreement, so that who adds a method touches no document: the next
run of this script adds the row.
"""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import code_tables
import measured_tables
import yaml
from method_table import methods
from selection_noise import selection_noise

from ard.artifacts.paths import StudyFolder
from ard.evaluation.checks import CHECKS
from ard.report.comparison import compare_records

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / name
        for name in ("methods.md", "evidence.md", "evaluation.md", "performance.md", "diagnostics.md", "results/README.md")
    ),
]
RESULTS = ROOT / "docs" / "results"
# Of comparisons that no study made.
BASELINES = {"digits-pruned": "ard", "wrong-labels-autoattack": "pgd_at_ema", "inherited-autoattack": "natural"}
SUMMARY = ("Method", "Teacher", "Clean", "PGD-20", "AA", "Worst", "params")
BLOCK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewritten(text: str, place: Path = ROOT, *, grow: bool = False) -> str:
    """A document in `place` with every table made anew, of code or of records; new methods get a row where it may `grow`."""
    present = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    makers = {
        "attacks": code_tables.attacks,
        "checks": code_tables.soundness_checks,
        "diagnostics": code_tables.diagnostics,
        "methods": lambda: methods(None if grow else present),
        "benchmark": measured_tables.bench,
        "speed": measured_tables.speed,
        "attack-strength": measured_tables.attack_strength,
        "step-profile": measured_tables.step_profile,
        "coverage": measured_tables.coverage,
        "power": measured_tables.power,
        "levers": measured_tables.levers,
        "misleading": measured_tables.misleading,
        "gradient-errors": measured_tables.gradient_errors,
        "gpu-graph": measured_tables.gpu_graph,
        "gpu-speed": measured_tables.gpu_speed,
        "inside": measured_tables.inside,
        "inside-time": measured_tables.inside_time,
    }

    def made(name: str) -> str:
        if name in makers:
            return makers[name]()
        kind, _, folder = name.rpartition(":")
        if kind:
            of_study = {"summary": summary, "last": last, "rates": measured_tables.rates, "selection": selection_noise}
            return of_study[kind](place / folder)
        return results(place / folder, place)

    text = re.sub(r"\d+(?= (?:soundness )?checks of the attacks)", str(len(CHECKS)), text)
    return BLOCK.sub(lambda match: match[1] + made(match[2]) + match[3], text)


def results(folder: Path, place: Path) -> str:
    """What `ard compare` says of the records below a folder."""
    table, picture = compared(folder)
    return f"\n{table}\n\n![clean and worst-case accuracy]({(folder / picture).relative_to(place)})\n\n"


def compared(folder: Path, **more: Any) -> tuple[str, str]:
    """The comparison of the records below a folder, or of a condition with those under none, and the name of its picture."""
    studies = [yaml.safe_load(path.read_text()) for path in (ROOT / "configs" / "studies").glob("*.yaml")]
    of = {ROOT / study.get("results", ""): study for study in studies}
    study = of.get(folder) or of.get(folder.parent) or {"baseline": BASELINES.get(folder.name)}  # of its conditions
    options = {key: study[key] for key in ("baseline", "ladders", "last") if key in study} | more
    folders = [folder] if folder in of or folder.parent not in of else of_condition(folder, study)
    with TemporaryDirectory() as scratch:
        table, _, rest = compare_records(folders, Path(scratch), **options).partition("\n\nPicture: ")
    return table, Path(f"{rest.partition('.png')[0]}.png").name


def of_condition(folder: Path, study: dict[str, Any]) -> list[Path]:
    """The folders that the table of one of a study's conditions is of."""
    return StudyFolder(folder.parent).of_condition(folder.name, study["conditions"])


def last(folder: Path) -> str:
    """The differences between last epochs alone, and the steps of the ladder between them."""
    parts = compared(folder, last=True)[0].split("\n\n")
    tables = [part for part in parts if part.startswith(("| Method − ", "| Step "))]
    return "\n" + "\n\n".join(tables) + "\n\n"


def summary(folder: Path) -> str:
    """The main columns of students and teachers, the worst case's difference to the baseline, and the conditions."""
    main, conditions, *others = compared(folder)[0].split("\n\n")
    (heads, rule, *rows), differences = cells(main), [cells(other) for other in others if other.startswith("| Method − ")]
    kept, names = [heads.index(name) for name in SUMMARY if name in heads], {row[0] for row in rows}
    rows = [row for row in rows if not (row[0].endswith(" (last)") and row[0].removesuffix(" (last)") in names)]
    lines = [[row[place] for place in kept] for row in (heads, rule, *rows)]
    for (what, *_), (mark, *_), *rest in differences:
        apart = {heads[0]: f"Worst{what.removeprefix('Method')}", rule[0]: mark, **{name: worst for name, worst, *_ in rest}}
        lines = [[*line, apart.get(line[0], "–")] for line in lines]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{conditions}\n\n"


def cells(table: str) -> list[list[str]]:
    """Of each line of a table."""
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()]


def main() -> int:
    """0 where the documents agree with records and code."""
    differ = 0
    for document in DOCUMENTS:
        text = document.read_text()
        new = rewritten(text, document.parent, grow="--check" not in sys.argv)
        differ |= int(new != text)
        if "--check" not in sys.argv:
            document.write_text(new)
    return differ if "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
