#!/usr/bin/env python3
"""Write the tables between the documents' markers anew, from records and from code; --check only says whether they agree.

scripts/tables.py [NAME...], such as methods.md, does it in the documents named alone.
A recipe that the table of methods has no row for is no disagreement, so that who adds a method touches no document: the next
run of this script adds the row.
"""

import re
import sys
from pathlib import Path

import code_tables
import measured_tables
from method_table import methods
from selection_noise import selection_noise
from study_tables import last, published_tables, results, sizes, steps, when

from ard.evaluation.checks import CHECKS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / name
        for name in ("methods.md", "evidence.md", "evaluation.md", "performance.md", "diagnostics.md", "results/README.md")
    ),
]
WRONG = "is not what records and code say: write it with scripts/tables.py"
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
        "steps": steps,
        "when": when,
        "sizes": sizes,
        "inside": measured_tables.inside,
        "inside-time": measured_tables.inside_time,
    }

    def made(name: str) -> str:
        if name in makers:
            return makers[name]()
        kind, _, folder = name.rpartition(":")
        if kind:
            of_study = {"last": last, "rates": measured_tables.rates, "selection": selection_noise}
            return of_study[kind](place / folder)
        return results(place / folder, place)

    text = re.sub(r"\d+(?= (?:soundness )?checks of the attacks)", str(len(CHECKS)), text)
    return BLOCK.sub(lambda match: match[1] + made(match[2]) + match[3], text)


def main(*names: str, check: bool = False) -> int:
    """0 where the documents agree with records and code."""
    if unknown := set(names) - {document.name for document in DOCUMENTS}:
        raise SystemExit(f"{', '.join(unknown)}: expected {', '.join(document.name for document in DOCUMENTS)}")
    differ = 0
    for document in DOCUMENTS:
        if names and document.name not in names:
            continue
        text = document.read_text()
        new = rewritten(text, document.parent, grow=not check)
        differ |= int(new != text)
        if not check:
            document.write_text(new)
        elif new != text:
            print(f"{document.relative_to(ROOT)} {WRONG}")
    for table in [] if names else published_tables(check=check):
        differ = 1
        if check:
            print(f"{table.relative_to(ROOT)} {WRONG}")
    return differ if check else 0


if __name__ == "__main__":
    sys.exit(main(*(word for word in sys.argv[1:] if word != "--check"), check="--check" in sys.argv))
