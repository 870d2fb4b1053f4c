"""Tables of what the code says of itself: attacks, soundness checks, diagnostics."""

import re
from collections.abc import Sequence

from torch import nn

from ard.attacks import Linf
from ard.core.text import markdown_table
from ard.diagnostics.diagnosing import load_diagnostic
from ard.diagnostics.names import groups
from ard.evaluation.adversaries import Adversary
from ard.evaluation.checks import CHECKS
from ard.evaluation.suites import SUITES, Given


def attacks() -> str:
    """Every adversary of every suite, for CIFAR images, Linf 8/255 and everything given that one can give.

    One that suites run with other settings, or on other images, has a row for each.
    """
    given = Given(transfer={"FILE": nn.Identity()}, teacher=nn.Identity(), temperature=30.0)
    ran: dict[tuple[str, ...], set[str]] = {}  # name, settings, sees -> the suites
    for name, make in SUITES.items():
        suite = make(Linf(eps="8/255"), 10, given, 3 * 32 * 32)
        for place, adversary in enumerate(suite):
            cells = (adversary.name, _settings(adversary), _sees(adversary, suite[:place]))
            ran.setdefault(cells, set()).add(name)
    rows = ["| Adversary | Settings | Sees | quick | standard | full |", "|---|---|---|---|---|---|"]
    for cells, suites in ran.items():
        rows.append(f"| {' | '.join([*cells, *(_mark(name in suites) for name in SUITES)])} |")
    return "\n" + "\n".join(rows) + "\n\n"


def soundness_checks() -> str:
    """How many checks each suite runs, and every check by its docstring, with the suites that run it."""
    counts = [f"`{name}` {sum(name in check.suites for check in CHECKS.values())}" for name in SUITES]
    rows = ["| Check | Name | Level | What must hold | quick | standard | full |", "|---|---|---|---|---|---|---|"]
    for name, check in CHECKS.items():
        words = re.fullmatch(rf"{name} \(([^)]+)\): (.*)", " ".join((check.run.__doc__ or "").split()))
        assert words, f"{name}: its docstring should begin with the id and the level"
        cells = [name, check.name, words[1], words[2].replace("|", "\\|")]
        rows.append(f"| {' | '.join([*cells, *(_mark(suite in check.suites) for suite in SUITES)])} |")
    return f"\nNumber of checks: {', '.join(counts)}.\n\n" + "\n".join(rows) + "\n\n"


def diagnostics() -> str:
    """Every diagnostic in its own words."""
    rows = []
    for name, group in groups().items():
        one = load_diagnostic(name)
        rows.append([group, f"`{name}`", one.tells, one.cannot, one.source, one.runs])
    header = ["Group", "Diagnostic", "It tells", "It cannot", "Source", "Runs"]
    return f"\n{markdown_table(header, rows)}\n\n"


def _mark(present: bool) -> str:
    return "✓" if present else ""


def _settings(adversary: Adversary) -> str:
    parts = []
    for key, value in adversary.settings.items():
        parts.append(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}")
    return ", ".join(parts)


def _sees(adversary: Adversary, before: Sequence[Adversary]) -> str:
    if adversary.probe:
        return "every correctly classified image; not part of the worst case"
    gradients = {a.name for a in before} - {"Square", "Noise"}
    if len(before) > 8 and not set(adversary.after) ^ {name for name in gradients if not name.startswith("Transfer")}:
        return "images that withstood every gradient of the model"
    if adversary.every > 1:
        shown = f"withstood {', '.join(adversary.after)}" if adversary.after else "is classified correctly"
        return f"every second image, if it {shown}"
    return f"images that withstood {', '.join(adversary.after)}" if adversary.after else "every correctly classified image"
