"""The table of methods: what the heads of the recipes say, what a step of each costs, and how far each is checked."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "configs" / "objectives"
HEADER = ["Recipe", "Method, paper", "Attack climbs", "Student descends", "Teachers", "Passes a step", "Status"]
# Of a head: the paper ends at its year or arXiv number, the formulas where words about them begin.
PAPER = re.compile(
    r"^(.*?(?:\d{4}, arXiv:[\d.]+\d|\b(?:19|20)\d\d(?![.\d])|: )\)?"
    r"(?: \+ (?:IGDM|N-FGSM), .*?arXiv:[\d.]+\d)?)"
)
WORDS = re.compile(
    r", (?:the|summed|KL summed|α|β|one|counting|its|from|m|layer|until|w|v|η|t|all|both)\b.*"
    r"|; (?:KL|w_k|the|one|λ|until|δ).*"
    r"| with the gradient.*"
)


def methods() -> str:
    """A row for each recipe; an `-as-released` one stands beside its own."""
    costs = json.loads((ROOT / "docs" / "results" / "costs.json").read_text())["passes"]
    tested = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*oracles*.py"))
    rows = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    recipes = [path for path in sorted(RECIPES.glob("*.yaml")) if not path.stem.endswith("-as-released")]
    parts = {path: yaml.safe_load(path.read_text())["model"]["init_args"] for path in recipes}
    for path in sorted(recipes, key=lambda path: ("teacher" in parts[path], path.stem)):
        told = head(path)
        kind = parts[path]["objective"]["class_path"].rpartition(".")[2]
        released = path.with_name(f"{path.stem}-as-released.yaml")
        cells = [
            f"`{path.stem}`" + (", `-as-released`" if released.is_file() else ""),
            paper(told),
            formula(told, "inner") or "–",
            formula(told, "outer"),
            str(len(re.findall(r"ard\.models\.Frozen", path.read_text()))),
            passes(costs[path.stem]),
            "oracle-tested" if re.search(rf"\b{kind}\b", tested) else "contract-tested",
        ]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n" + "\n".join(rows) + "\n\n"


def head(path: Path) -> str:
    """The comment that a recipe begins with, as one line."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("#")]
    return " ".join(line.lstrip("# ").strip() for line in lines)


def paper(told: str) -> str:
    """The method's name and where it was published."""
    found = PAPER.match(told)
    return (found[1] if found else told.split(".")[0]).rstrip(": ")


def formula(told: str, which: str) -> str:
    """The loss without the words around it."""
    found = re.search(rf"{which}: (.*?)(?= inner: | outer: | ard fit )", told)
    return WORDS.sub("", found[1]).strip() if found else ""


def passes(cost: dict[str, dict[str, float]]) -> str:
    """Forward and backward passes over a batch of each network."""
    return ", ".join(f"{name} {count['F']:g} F + {count['B']:g} B" for name, count in cost.items())
