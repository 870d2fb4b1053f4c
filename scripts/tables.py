#!/usr/bin/env python3
"""Write the tables between the documents' markers anew, from records and from code; --check only says whether they agree.

A recipe that the table of methods has no row for is no disagreement, so that who adds a method touches no document: the next
run of this script adds the row.
"""

import json
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from method_table import methods
from torch import nn

from ard.artifacts.diagnosis import read_diagnosis
from ard.attacks import Linf, Radius
from ard.bench.report import bench_table, short
from ard.core.text import duration, markdown_table, percent
from ard.diagnostics.diagnosing import load_diagnostic
from ard.diagnostics.names import groups
from ard.evaluation.adversaries import Adversary
from ard.evaluation.checks import CHECKS
from ard.evaluation.suites import SUITES, Given
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
BASELINES = {"digits-pruned": "ard"}  # of comparisons that no study made
SUMMARY = ("Method", "Teacher", "Clean", "PGD-20", "AA", "Worst", "params")
BLOCK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewritten(text: str, place: Path = ROOT, *, grow: bool = False) -> str:
    """A document in `place` with every table made anew, of code or of records; new methods get a row where it may `grow`."""
    present = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    makers = {
        "attacks": attacks,
        "checks": soundness_checks,
        "methods": lambda: methods(None if grow else present),
        "benchmark": lambda: f"\n{bench_table(_record('benchmark'))}\n\n",
        "speed": lambda: f"\n{short(_record('benchmark'))}\n\n",
        "attack-strength": attack_strength,
        "step-profile": step_profile,
        "coverage": coverage,
        "power": power,
        "levers": levers,
        "misleading": misleading,
        "gradient-errors": gradient_errors,
        "gpu-graph": lambda: f"\n{bench_table(json.loads((RESULTS / 'gpu-graph' / 'benchmark.json').read_text()))}\n\n",
        "gpu-speed": gpu_speed,
        "diagnostics": diagnostics,
        "inside": inside,
        "inside-time": inside_time,
    }

    def made(name: str) -> str:
        if name in makers:
            return makers[name]()
        kind, _, folder = name.rpartition(":")
        return summary(place / folder) if kind == "summary" else results(place / folder, place)

    text = re.sub(r"\d+(?= (?:soundness )?checks of the attacks)", str(len(CHECKS)), text)
    return BLOCK.sub(lambda match: match[1] + made(match[2]) + match[3], text)


def results(folder: Path, place: Path) -> str:
    """What `ard compare` says of the records below a folder."""
    table, picture = compared(folder)
    return f"\n{table}\n\n![clean and worst-case accuracy]({(folder / picture).relative_to(place)})\n\n"


def compared(folder: Path) -> tuple[str, str]:
    """The comparison of the records below a folder, and the name of its picture."""
    studies = [yaml.safe_load(path.read_text()) for path in (ROOT / "configs" / "studies").glob("*.yaml")]
    of = {ROOT / study.get("results", ""): study for study in studies}
    study = of.get(folder) or of.get(folder.parent) or {"baseline": BASELINES.get(folder.name)}  # of its conditions
    options = {key: study[key] for key in ("baseline", "ladder") if key in study}
    with TemporaryDirectory() as scratch:
        table, _, rest = compare_records([folder], Path(scratch), **options).partition("\n\nPicture: ")
    return table, Path(f"{rest.partition('.png')[0]}.png").name


def summary(folder: Path) -> str:
    """The main columns of the comparison, and under which conditions its numbers were measured."""
    main, conditions, *_ = compared(folder)[0].split("\n\n")
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in main.splitlines()]
    kept = [cells[0].index(name) for name in SUMMARY]
    lines = ["| " + " | ".join(line[place] for place in kept) + " |" for line in cells]
    return "\n" + "\n".join(lines) + f"\n\n{conditions}\n\n"


def _record(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / "benchmark" / f"{name}.json").read_text())


def attack_strength() -> str:
    """Attacks with gradients in float32 and in bfloat16, side by side."""
    header = [
        "Network",
        "attack mode",
        "robust accuracy, float32",
        "bfloat16",
        "loss reached, float32",
        "bfloat16",
        "signs differ",
    ]
    rows = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    measured = _record("attack-strength")["rows"]
    for exact, half in zip(measured[::2], measured[1::2], strict=True):
        cells = [f"{exact['network']}, {exact['data']}, {exact['state']}", exact["attack_mode"]]
        cells += [", ".join(f"{100 * accuracy:.1f}" for accuracy in row["robust_acc"]) for row in (exact, half)]
        cells += [f"{statistics.mean(row['loss']):.4f}" for row in (exact, half)]
        rows.append("| " + " | ".join([*cells, f"{half['signs_differ']:.1%}"]) + " |")
    return "\n" + "\n".join(rows) + "\n\n"


def step_profile() -> str:
    """Where the CPU time of a step goes, by kind of operation."""
    record = _record("step-profile")
    whole, half = (record["shares"][name] for name in ("without bfloat16", "with bfloat16"))
    rows = [[kind, f"{share:.0%}", f"{whole.get(kind, 0):.0%}"] for kind, share in half.items()]
    table = markdown_table(["Operations", "with bfloat16", "without"], rows)
    return f"\n{table}\n\n{record['device']}, one thread, torch {record['torch']}, batch {record['batch_size']}.\n\n"


def coverage() -> str:
    """How often the intervals of differences hold the truth, before and now."""
    header = ["Seeds", "spread of seeds", "images", "bootstrap covers", "width", "t and z cover", "width"]
    rows = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in json.loads((RESULTS / "coverage.json").read_text())["rows"]:
        cells = [str(row["seeds"]), f"{100 * row['spread']:.0f}", f"{row['n']:,}"]
        for name in ("bootstrap", "t_and_z"):
            cells += [f"{row[f'{name}_coverage']:.1%}", f"{100 * row[f'{name}_width']:.1f}"]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n" + "\n".join(rows) + "\n\n"


def power() -> str:
    """What comparisons of two methods can see, by images, seeds and folds."""
    header = ["Test images", "Runs of a row", "Interval", "Seen four times out of five"]
    rows = []
    for row in json.loads((RESULTS / "power.json").read_text())["designs"]:
        seeds = f"{row['seeds']} seed{'s' if row['seeds'] > 1 else ''}"
        runs = seeds if row["folds"] == 1 else f"{row['folds']} folds, {seeds} each"
        half, visible = (f"{100 * row[key]:.1f}" for key in ("half_width", "visible"))
        rows.append([f"{row['images']:,}", runs, f"± {half}", f"{visible} points"])
    return f"\n{markdown_table(header, rows)}\n\n"


def gradient_errors() -> str:
    """How far honest gradients are from differences, in float64 and in float32."""
    rows = ["| Network (digits) | float64: median | largest | float32: 99 % below | largest |", "|" + "---|" * 5]
    for kind, row in json.loads((RESULTS / "gradient-errors.json").read_text())["kinds"].items():
        cells = [row[key] for key in ("float64_median", "float64_largest", "float32_99", "float32_largest")]
        rows.append("| " + " | ".join([kind, *("–" if cell is None else f"{cell:.1g}" for cell in cells)]) + " |")
    return "\n" + "\n".join(rows) + "\n\n"


def misleading() -> str:
    """What the suites say of networks that mislead an attack, and of honest ones."""
    found = json.loads((RESULTS / "misleading.json").read_text())["subjects"]
    rows = ["| Network | PGD-20 | quick | | standard | |", "|" + "---|" * 6]
    for name, row in found.items():
        quick = row["quick"]
        cells = [name, f"{100 * quick['pgd20']:.0f}" if "pgd20" in quick else "–"]
        for suite in ("quick", "standard"):
            said = row.get(suite, {"word": "not run"})
            word = "UNRELIABLE" if said["word"] == "unreliable" else said["word"]
            number = f"{100 * said['robust_acc']:.0f}, " if "robust_acc" in said else ""
            cells += [f"{number}{word}", " ".join(said.get("raised", ()))]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n" + "\n".join(rows) + "\n\n"


def levers() -> str:
    """Students trained with every default lever and with none, three seeds."""
    parts = []
    for folder in sorted((RESULTS / "levers").iterdir()):
        with TemporaryDirectory() as scratch:
            comparison = compare_records([folder], Path(scratch), baseline="plain").partition("\n\nPicture:")[0]
        parts.append(f"**{folder.name}**\n\n{comparison.partition('Differences in points')[0].strip()}")
    return "\n" + "\n\n".join(parts) + "\n\n"


def gpu_speed() -> str:
    """Training steps on a GPU: how many kernels one is, and how much of its time the GPU works."""
    record = json.loads((RESULTS / "gpu-cifar10-jpeg" / "speed.json").read_text())
    header = ["Student", "Step", "batch", "ms", "images/s", "TFLOP/s", "peak memory", "kernels", "GPU works"]
    rows = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in record["rows"]:
        busy = [str(row["kernels"]), f"{row['gpu_busy_ms'] / row['ms']:.0%}"] if "kernels" in row else ["–", "–"]
        cells = [row["student"], f"{row['method']}, {row['lever']}", str(row["batch"]), f"{row['ms']:.0f}"]
        cells += [f"{row['images_per_s']:,.0f}", f"{row['tflops']:.1f}", f"{row['gb']:.2f} GB"]
        rows.append("| " + " | ".join(cells + busy) + " |")
    ceilings = ", ".join(f"{name} {value:.3g}" for name, value in record["ceilings"].items())
    return "\n" + "\n".join(rows) + f"\n\n{record['device']}, torch {record['torch']}, PGD-10; ceilings: {ceilings}.\n\n"


def diagnostics() -> str:
    """Every diagnostic in its own words."""
    rows = []
    for name, group in groups().items():
        one = load_diagnostic(name)
        rows.append([group, f"`{name}`", one.tells, one.cannot, one.source, one.runs])
    header = ["Group", "Diagnostic", "It tells", "It cannot", "Source", "Runs"]
    return f"\n{markdown_table(header, rows)}\n\n"


def inside() -> str:
    """Of each diagnostic the number that goes most with robust accuracy among robust students, and how it does over all."""
    found = json.loads((RESULTS / "digits-inside" / "ranking.json").read_text())
    ranked = sorted(
        ((name, row) for name, row in found["rows"].items() if row["robust"]),
        key=lambda item: -abs(item[1]["robust"]["rho"]),
    )
    strongest: dict[str, tuple[str, Any]] = {}
    for name, row in ranked:
        strongest.setdefault(name.partition(":")[0], (name, row))
    rows = [[name, _correlation(row["all"]), _correlation(row["robust"])] for name, row in strongest.values()]
    header = ["Number", f"all {found['students']} students", f"the {found['robust students']} robust ones"]
    conditions = (
        f"{found['methods']} methods; robust: worst-case accuracy at least {percent(found['least robust of them'])}, "
    )
    conditions += f"{found['robust methods']} methods. Spearman's ρ with it, and an interval by drawing methods anew; of "
    conditions += f"{len(ranked)} numbers that of each diagnostic which goes most with it among the robust ones."
    return f"\n{markdown_table(header, rows)}\n\n{conditions}\n\n"


def _correlation(row: dict[str, float] | None) -> str:
    return "–" if row is None else f"{row['rho']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"


def inside_time() -> str:
    """What each diagnostic costs on CIFAR images."""
    diagnosis = read_diagnosis(RESULTS / "cifar-inside" / "diagnosis.json")
    rows = [[result.group, f"`{result.name}`", str(result.n), duration(result.seconds)] for result in diagnosis.results]
    skipped = "".join(f" `{one.name}`: {one.reason}." for one in diagnosis.skipped)
    where = f"{diagnosis.model.class_path.rpartition('.')[2]}, {diagnosis.n:,} images of {diagnosis.dataset.name}, "
    return f"\n{markdown_table(['Group', 'Diagnostic', 'images', 'time'], rows)}\n\n{where}{diagnosis.device}.{skipped}\n\n"


def attacks() -> str:
    """Every adversary of every suite, for CIFAR images, Linf 8/255 and everything given that one can give."""
    given = Given(transfer={"FILE": nn.Identity()}, teacher=nn.Identity(), temperature=30.0)
    suites = {name: make(Linf(eps=Radius("8/255")), 10, given, 3 * 32 * 32) for name, make in SUITES.items()}
    rows = ["| Adversary | Settings | Sees | quick | standard | full |", "|---|---|---|---|---|---|"]
    for place, adversary in enumerate(suites["full"]):
        marks = [_mark(any(a.name == adversary.name for a in suite)) for suite in suites.values()]
        cells = [adversary.name, _settings(adversary), _sees(adversary, suites["full"][:place]), *marks]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n" + "\n".join(rows) + "\n\n"


def soundness_checks() -> str:
    """Every check by its docstring, and the suites that run it."""
    rows = ["| Check | Name | Level | What must hold | quick | standard | full |", "|---|---|---|---|---|---|---|"]
    for name, check in CHECKS.items():
        words = re.fullmatch(rf"{name} \(([^)]+)\): (.*)", " ".join((check.run.__doc__ or "").split()))
        assert words, f"{name}: its docstring should begin with the id and the level"
        cells = [name, check.name, words[1], words[2].replace("|", "\\|")]
        rows.append(f"| {' | '.join([*cells, *(_mark(suite in check.suites) for suite in SUITES)])} |")
    return "\n" + "\n".join(rows) + "\n\n"


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
    shown = f"images that withstood {', '.join(adversary.after)}" if adversary.after else "every correctly classified image"
    return shown if adversary.every == 1 else f"of every second image the {shown}"


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
