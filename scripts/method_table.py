"""The table of methods: what the heads of the recipes say, what a step of each costs, and how far each is checked."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ard.artifacts.paths import records_below
from ard.report.grouping import group, stored_record
from ard.report.published import entries, matches, met

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "configs" / "methods"
RESULTS = ROOT / "docs" / "results"
SPEED = "Images/s, ARD = 1"
HEADER = ["Recipe", "Method, paper", "Attack loss", "Training loss", "Teachers", "Passes a step", SPEED, "Status"]
# Of a head: the paper ends at its year or arXiv number, the formulas where words about them begin.
PAPER = re.compile(
    r"^(.*?(?:\d{4}, arXiv:[\d.]+\d|\b(?:19|20)\d\d(?![.\d])|: )\)?"
    r"(?: \+ [\w -]+, .*?(?:arXiv:[\d.]+\d|\b20\d\d(?!, arXiv)))?)"
)
WORDS = re.compile(
    r", (?:the|summed|KL summed|α|β|one|counting|its|from|m|layer|until|w|v|η|t|all|both)\b.*"
    r"|; (?:KL|w_k|the|one|λ|until|δ).*"
    r"| with the gradient.*"
)


def methods(names: set[str] | None = None) -> str:
    """A row for each recipe, or each of those listed; an `-as-released` one shares the row of its own.

    What nobody has counted or measured yet is a dash: scripts/costs.py counts, scripts/speeds.py measures.
    """
    costs = record("costs.json")["passes"]
    measured = record("speeds.json")
    verified = recipes_met(RESULTS)
    tested = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*oracles*.py"))
    header = HEADER if measured else [title for title in HEADER if title != SPEED]
    rows = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    recipes = [path for path in sorted(RECIPES.glob("*.yaml")) if not path.stem.endswith("-as-released")]
    recipes = [path for path in recipes if names is None or path.stem in names]
    parts = {path: yaml.safe_load(path.read_text())["model"]["init_args"] for path in recipes}
    for path in sorted(recipes, key=lambda path: ("teacher" in parts[path], path.stem)):
        text = head(path)
        kind = parts[path]["objective"]["class_path"].rpartition(".")[2]
        released = path.with_name(f"{path.stem}-as-released.yaml")
        cells = [
            f"`{path.stem}`" + (", `-as-released`" if released.is_file() else ""),
            paper(text),
            formula(text, "inner") or "–",
            formula(text, "outer"),
            str(len(re.findall(r"ard\.models\.Frozen", path.read_text()))),
            passes(costs.get(path.stem)),
            *([speed(measured["relative_to_ard"].get(path.stem))] if measured else []),
            status({path.stem, released.stem} & verified, bool(re.search(rf"\b{kind}\b", tested))),
        ]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n" + "\n".join(rows) + "\n\n" + (conditions(measured) if measured else "")


def status(verified: set[str], has_oracle: bool) -> str:
    """How far a method is checked; by its published number, too, where a record met it."""
    return ", ".join(["oracle-tested" if has_oracle else "contract-tested", *(["verified"] if verified else [])])


@cache
def recipes_met(folder: Path) -> set[str]:
    """The recipes of which a record below a folder meets its entry in configs/published.yaml."""
    known = entries()
    names = {f'"name": {json.dumps(entry.data)}' for entry in known}
    paths = [path for path in records_below(folder) if any(name in path.read_text() for name in names)]
    rows = group([stored_record(path) for path in paths])
    return {pair.row.first.run.method for pair in met(matches(rows, known), rows) if pair.row.first.run}


def record(name: str) -> dict[str, Any]:
    """What was written; nothing where nothing was."""
    file = RESULTS / name
    return json.loads(file.read_text()) if file.is_file() else {}


def head(path: Path) -> str:
    """The comment that a recipe begins with, as one line."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("#")]
    return " ".join(line.lstrip("# ").strip() for line in lines)


def paper(text: str) -> str:
    """The method's name and where it was published."""
    match = PAPER.match(text)
    return (match[1] if match else text.split(".")[0]).rstrip(": ")


def formula(text: str, which: str) -> str:
    """The loss without the words around it."""
    match = re.search(rf"{which}: (.*?)(?= inner: | outer: | ard fit )", text)
    return WORDS.sub("", match[1]).strip() if match else ""


def passes(cost: dict[str, dict[str, float]] | None) -> str:
    """Forward and backward passes over a batch of each network."""
    return ", ".join(f"{name} {count['F']:g} F + {count['B']:g} B" for name, count in cost.items()) if cost else "–"


def speed(ratio: dict[str, float] | None) -> str:
    """Images a second in units of ARD's: the median round, the slowest and the fastest."""
    return f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})" if ratio else "–"


def counted(threads: int) -> str:
    """How many there were."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def conditions(measured: dict[str, Any]) -> str:
    """Under which the speeds were measured."""
    text = f"Images/s: MobileNetV2 taught by ResNet-18, {measured['device']}, {counted(measured['threads'])}, torch "
    text += (
        f"{measured['torch']}, batch {measured['batch_size']}, PGD-{measured['pgd_steps']}, {measured['clock']} seconds; "
    )
    return text + f"median, least and most of {measured['rounds']} rounds, each beside a step of ARD.\n\n"
