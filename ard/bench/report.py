"""A benchmark's record as tables."""

from typing import Any

from ard.core.text import markdown_table

HEADER = [
    "Step",
    "networks",
    "s",
    "images/s",
    "times faster",
    "in the attack",
    "TFLOP",
    "GFLOP/s",
    "of GEMM",
    "of conv",
    "peak memory",
    "x′ differs",
]


def bench_table(record: dict[str, Any]) -> str:
    """Markdown: one row a step, each group's reference first; ratios are medians over interleaved rounds, with range."""
    lines = [_cells(row, record["ceilings_flops"]) for row in record["rows"]]
    parts = [markdown_table(HEADER, lines)] if lines else []
    parts.append(_conditions(record))
    if record["cost_laws"]:
        parts.append(_laws(record["cost_laws"]))
    if record["overhead"]:
        parts.append(_overhead(record["overhead"]))
    return "\n\n".join(parts)


def short(record: dict[str, Any]) -> str:
    """Markdown: what a step costs as released, with identical mathematics, and as shipped."""
    rows = [row for row in record["rows"] if row["group"].startswith(("ARD, ", "RSLAD, ")) and "WRN" not in row["group"]]
    wanted = [row for row in rows if any(word in row["lever"] for word in ("released", "identical", "shipped"))]
    lines = []
    for row in wanted:
        faster = row["times_faster"]
        cells = [f"{row['group']}: {_plain(row['lever'])}", f"{faster['median']:.1f}"]
        lines.append([*cells, f"{faster['least']:.1f} to {faster['most']:.1f}", f"{row['images_per_s']:.3g}"])
    table = markdown_table(["Step", "times faster", "least to most", "images/s"], lines)
    return f"{table}\n\n{_conditions(record)}"


def _cells(row: dict[str, Any], ceilings: dict[str, float]) -> list[str]:
    faster, difference, memory = row["times_faster"], row["difference"], row["peak_memory"]
    return [
        f"{row['group']}: {row['lever']}",
        row.get("networks", "fresh"),
        f"{row['seconds']:.3g}",
        f"{row['images_per_s']:.3g}",
        f"{faster['median']:.2f} ({faster['least']:.2f} to {faster['most']:.2f})",
        f"{row['attack_share']:.0%}",
        f"{row['flops'] / 1e12:.3g}",
        f"{row['flops_per_s'] / 1e9:.0f}",
        f"{row['flops_per_s'] / ceilings['gemm ' + row['precision']]:.0%}",
        f"{row['flops_per_s'] / ceilings['conv ' + row['precision']]:.0%}",
        "–" if memory is None else f"{memory / 1e9:.2f} GB",
        f"{difference['share_of_pixels']:.1%}, loss by {difference['loss']:.0e}" if difference else "other mathematics",
    ]


def _conditions(record: dict[str, Any]) -> str:
    limits = ", ".join(f"{name} {value / 1e9:,.0f}" for name, value in record["ceilings_flops"].items())
    conditions = f"{record['device']}, {record['threads']} threads, torch {record['torch']}, batch {record['batch_size']}, "
    conditions += f"PGD-{record['pgd_steps']}, {record['rounds']} interleaved rounds, {record['clock']} seconds, "
    conditions += f"networks trained: {record['trained']}; " if "trained" in record else "networks never trained; "
    conditions += "float32 convolutions in TF32; " if record["clock"] == "wall" else ""
    return f"{conditions}ceilings in GFLOP/s: {limits}." if limits else f"{conditions.removesuffix('; ')}."


def _laws(laws: dict[str, dict[str, Any]]) -> str:
    lines = []
    for over, law in laws.items():
        measured = ", ".join(f"{at}: {seconds:.2f} s" for at, seconds in zip(law["at"], law["seconds"], strict=True))
        line = f"{law['intercept']:.2f} s + {law['slope']:.3g} s × {over}"
        lines.append([f"over {over}", measured, line, f"{law['r_squared']:.3f}"])
    return markdown_table(["Cost of a step (shipped ARD, MobileNetV2)", "measured", "line", "R²"], lines)


def _overhead(cost: dict[str, float]) -> str:
    return (
        f"A step of a network of next to nothing takes {cost['ours_ms']:.2f} ms in our loop "
        f"and {cost['plain_loop_ms']:.2f} ms in a plain one: the framework costs {cost['overhead_ms']:.2f} ms a step."
    )


def _plain(lever: str) -> str:
    return lever.removeprefix("+ ").removeprefix("bfloat16: ")
