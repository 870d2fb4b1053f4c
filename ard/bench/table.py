"""A benchmark's record as a table."""

from typing import Any

HEADER = ["Step", "s", "images/s", "times faster", "least to most", "TFLOP", "of the GEMM ceiling", "x′ elsewhere (float64)"]


def table(record: dict[str, Any]) -> str:
    """Markdown: one row a step, the released one first in each group; ratios are medians over interleaved rounds."""
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    for row in record["rows"]:
        faster, difference = row["times_faster"], row["difference"]
        cells = [f"{row['group']}: {row['lever']}", f"{row['seconds']:.3g}", f"{row['images_per_s']:.3g}"]
        cells += [f"{faster['median']:.2f}", f"{faster['least']:.2f} to {faster['most']:.2f}", f"{row['flops'] / 1e12:.3g}"]
        cells += [f"{row['flops_per_s'] / record['ceilings_flops']['gemm ' + row['precision']]:.0%}"]
        cells += [f"{difference['share_of_pixels']:.1%}" if difference else "other mathematics"]
        lines.append("| " + " | ".join(cells) + " |")
    limits = ", ".join(f"{name} {value / 1e9:,.0f}" for name, value in record["ceilings_flops"].items())
    told = f"{record['device']}, {record['threads']} threads, torch {record['torch']}, batch {record['batch_size']}, "
    told += (
        f"PGD-{record['pgd_steps']}, {record['rounds']} rounds, {record['clock']} seconds; ceilings in GFLOP/s: {limits}."
    )
    return "\n".join(lines) + "\n\n" + told
