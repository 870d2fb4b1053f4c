"""The evidence card: everything needed to believe or doubt one record, on one page."""

from typing import Any

from ard.core.statistics import wilson_interval
from ard.core.text import in_points, markdown_table, radius
from ard.report.content import architecture, overestimation, warning, warning_with_reasons
from ard.report.provenance import provenance
from ard.report.table import NONE

Content = dict[str, Any]
REACH = {
    "Linf": "may move every pixel value by up to {eps} (Linf)",
    "L2": "may move an image by up to {eps} in the Euclidean norm (L2)",
}


def evidence_card(record: Content) -> str:
    """One record as a page of Markdown; a robust number that failed a check does not appear on it, its warning does."""
    sections = (_head, _accuracy, _autoattack, _attacks, _probes, _per_class, _checks, provenance, _limits)
    return "\n\n".join(text for section in sections if (text := section(record))) + "\n"


def _head(record: Content) -> str:
    threat = record["threat"]
    reach = REACH.get(threat["norm"], f"may move an image by up to {{eps}} in the norm {threat['norm']}")
    data, limit = record["dataset"], record.get("limit")
    drawn = "" if limit is None else f", drawn evenly over the classes by a limit of {limit:,}"
    return (
        f"# {architecture(record['model'])} on {data['name']}\n\n"
        f"**Threat model.** White box: the attacker knows the network, its weights and the right answer, and "
        f"{reach.format(eps=radius(threat['eps']))}. Pixels lie in [0, 1] and stay there.\n\n"
        f"**Images.** {record['n']:,} of the {record['split']} split of {data['name']}{drawn}; digest {data['digest']}."
    )


def _accuracy(record: Content) -> str:
    rows = [["clean", *_percent_and_interval(record["clean_acc"], record["n"])]]
    robust = _percent_and_interval(record["robust_acc"], record["n"])
    rows.append(["robust: right after every attack, image by image", *robust])
    if doubt := warning_with_reasons(record):
        rows[1][1:] = [doubt, NONE]
    return markdown_table(["Accuracy", "%", "95 % interval (Wilson)"], rows)


def _autoattack(record: Content) -> str:
    accuracy, points = record.get("autoattack_acc"), overestimation(record)
    if accuracy is None:
        return ""
    if doubt := warning([record]):
        return f"**AutoAttack** (standard): {doubt}."
    percent, interval = _percent_and_interval(accuracy, record["n"])
    text = f"**AutoAttack** (standard) leaves {percent} % ({interval})."
    return text if points is None else f"{text} PGD-20 alone flatters by {in_points(points)} points (PGD-20 − AutoAttack)."


def _attacks(record: Content) -> str:
    text = "## Attacks\n\nThe robust accuracy is the worst case over these.\n\n" + _entries(record, record["attacks"])
    if any(attack.get("after") for attack in record["attacks"]):
        text += "\n\nAn attack with names under *after* saw only what these had left right: its accuracy is cumulative."
    return text


def _probes(record: Content) -> str:
    head = "## Probes\n\nMeasured beside the threat model; no part of the robust accuracy.\n\n"
    return head + _entries(record, record["probes"]) if record.get("probes") else ""


def _entries(record: Content, entries: list[Content]) -> str:
    rows = []
    for entry in entries:
        settings = ", ".join(f"{key} {_setting(key, value)}" for key, value in (entry.get("settings") or {}).items())
        seen = f"{entry['attacked']:,}" if entry.get("attacked") is not None else "not recorded"
        shown = warning([record]) or f"{100 * entry['accuracy']:.1f}"
        rows.append([entry["name"], settings or NONE, seen, ", ".join(entry.get("after") or []) or NONE, shown])
    return markdown_table(["Name", "Settings", "images seen", "after", "accuracy (%)"], rows)


def _per_class(record: Content) -> str:
    doubt, rows = warning([record]), []
    for row in record.get("per_class") or []:
        robust = doubt or f"{100 * row['robust_acc']:.1f}"
        rows.append([str(row["class"]), f"{row['n']:,}", f"{100 * row['clean_acc']:.1f}", robust])
    return "## Classes\n\n" + markdown_table(["Class", "images", "clean (%)", "robust (%)"], rows) if rows else ""


def _checks(record: Content) -> str:
    passed = [check["id"] for check in record["checks"] if check["verdict"] == "pass"]
    rest = [check for check in record["checks"] if check["verdict"] != "pass"]
    parts = [f"## Checks\n\nVerdict: {record['verdict']}. Passed: {', '.join(passed) or 'none'}."]
    rows = []
    for check in sorted(rest, key=lambda check: ("fail", "warn", "skipped").index(check["verdict"])):
        value, threshold = (_setting("", check.get(key)) for key in ("value", "threshold"))
        rows.append([check["id"], check["verdict"], value, threshold, str(check.get("reason") or NONE)])
    if rows:
        parts.append(markdown_table(["Check", "verdict", "value", "threshold", "reason"], rows))
    return "\n\n".join(parts)


def _limits(record: Content) -> str:
    kind, key = ("clean", "clean_acc") if warning([record]) else ("robust", "robust_acc")
    low, high = wilson_interval(record[key], record["n"])
    threat = f"{record['threat']['norm']} {radius(record['threat']['eps'])}"
    lines = ["Accuracy under attack is an upper bound on robustness, never a proof: a stronger attack can only lower it."]
    if record.get("autoattack_acc") is None:
        whole = " whole" if any(attack.get("group") == "AutoAttack" for attack in record["attacks"]) else ""
        lines.append(f"AutoAttack did not run{whole}: these numbers do not compare with those of AutoAttack.")
    lines += [
        f"With {record['n']:,} images the interval of the {kind} accuracy is {100 * (high - low):.1f} points wide.",
        "This is one training run: the intervals cover the choice of images, not of the training seed.",
        f"The robust accuracy says nothing of attacks outside {threat}.",
        *(record.get("notes") or []),
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _percent_and_interval(accuracy: float, n: int) -> tuple[str, str]:
    low, high = wilson_interval(accuracy, n)
    return f"{100 * accuracy:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"


def _setting(key: str, value: Any) -> str:
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return radius(value) if key in ("eps", "step_size") else f"{value:.4g}"
    return str(value)
