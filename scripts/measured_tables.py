"""Tables of what scripts measured, from the records that they wrote."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ard.artifacts.diagnosis import read_diagnosis
from ard.bench.report import bench_table, short
from ard.core.text import duration, markdown_table, percent
from ard.report.comparison import compare_records

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"


def bench() -> str:
    """Every row of `ard bench` on a CPU."""
    return f"\n{bench_table(_record('benchmark'))}\n\n"


def speed() -> str:
    """The same in a few rows."""
    return f"\n{short(_record('benchmark'))}\n\n"


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


def rates(folder: Path) -> str:
    """The mean accuracy on validation images that each learning rate came to; in brackets how many folds took it.

    Over the folds in which every method has tried every rate, so that rows compare; of equals a study takes the lowest.
    """
    reached: dict[str, dict[str, dict[float, float]]] = {}  # by fold, method and rate
    for name, trial in json.loads((folder / "tuning.json").read_text()).items():
        _, method, fold, _ = name.split("/")  # tuning/METHOD/fold0/lr-0.1
        (rate,) = trial["setting"].values()
        reached.setdefault(fold, {}).setdefault(method, {})[rate] = trial["accuracy"]
    methods = sorted({method for tried in reached.values() for method in tried})
    every = sorted({rate for tried in reached.values() for accuracies in tried.values() for rate in accuracies})
    whole = [tried for tried in reached.values() if sum(map(len, tried.values())) == len(methods) * len(every)]
    rows = [[method, *_cells_of_rates([tried[method] for tried in whole], every)] for method in methods]
    return f"\n{markdown_table(['Method', *(f'rate {rate:g}' for rate in every)], rows)}\n\n"


def _cells_of_rates(folds: Sequence[dict[float, float]], every: list[float]) -> list[str]:
    if not folds:
        return ["–"] * len(every)
    votes = [max(every, key=tried.__getitem__) for tried in folds]
    means = [f"{100 * statistics.mean(tried[rate] for tried in folds):.1f}" for rate in every]
    return [f"{mean} ({votes.count(rate)})" if rate in votes else mean for rate, mean in zip(every, means, strict=True)]


def gpu_graph() -> str:
    """The steps of `ard bench` on a GPU."""
    return f"\n{bench_table(json.loads((RESULTS / 'gpu-graph' / 'benchmark.json').read_text()))}\n\n"


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


def inside_time() -> str:
    """What each diagnostic costs on CIFAR images."""
    diagnosis = read_diagnosis(RESULTS / "cifar-inside" / "diagnosis.json")
    rows = [[result.group, f"`{result.name}`", str(result.n), duration(result.seconds)] for result in diagnosis.results]
    skipped = "".join(f" `{one.name}`: {one.reason}." for one in diagnosis.skipped)
    where = f"{diagnosis.model.class_path.rpartition('.')[2]}, {diagnosis.n:,} images of {diagnosis.dataset.name}, "
    return f"\n{markdown_table(['Group', 'Diagnostic', 'images', 'time'], rows)}\n\n{where}{diagnosis.device}.{skipped}\n\n"


def _record(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / "benchmark" / f"{name}.json").read_text())


def _correlation(row: dict[str, float] | None) -> str:
    return "–" if row is None else f"{row['rho']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"
