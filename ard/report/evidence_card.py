"""The evidence card: everything needed to judge one record, on one page."""

from collections.abc import Sequence
from typing import Any

from ard.artifacts.check_names import with_name
from ard.artifacts.record import AttackResult, Record
from ard.core.statistics import wilson_interval
from ard.core.text import DASH, duration, in_points, markdown_table, radius

REACH = {
    "Linf": "may move every pixel value by up to {eps} (Linf)",
    "L2": "may move an image by up to {eps} in the Euclidean norm (L2)",
}
EXTRA_DATA = {True: "used", False: "none", None: "not said"}
UNKNOWN, UNRECORDED = "not known", "not recorded"


def evidence_card(record: Record) -> str:
    """One record as a page of Markdown; a robust number that failed a check is replaced by its warning."""
    sections = (_head, _accuracy, _autoattack, _attacks, _probes, _per_class, _checks, _provenance, _limits)
    return "\n\n".join(text for section in sections if (text := section(record))) + "\n"


def _head(record: Record) -> str:
    threat, data = record.threat, record.dataset
    reach = REACH.get(threat.norm, f"may move an image by up to {{eps}} in the norm {threat.norm}")
    drawn = "" if record.limit is None else f", drawn evenly over the classes by a limit of {record.limit:,}"
    return (
        f"# {record.model.architecture} on {data.name}\n\n"
        f"**Threat model.** White box: the attacker knows the network, its weights and the right answer, and "
        f"{reach.format(eps=radius(threat.eps))}. Pixels lie in [0, 1] and stay there.\n\n"
        f"**Images.** {record.n:,} of the {record.split} split of {data.name}{drawn}; digest {data.digest}."
    )


def _accuracy(record: Record) -> str:
    rows = [["clean", *_percent_and_interval(record.clean_acc, record.n)]]
    robust = _percent_and_interval(record.robust_acc, record.n)
    if record.warning:
        robust = (record.explained_warning, DASH)
    rows.append(["robust: right after every attack, image by image", *robust])
    return markdown_table(["Accuracy", "%", "95 % interval (Wilson)"], rows)


def _autoattack(record: Record) -> str:
    points = record.overestimation
    if record.autoattack_acc is None:
        return ""
    if record.warning:
        return f"**AutoAttack** (standard): {record.warning}."
    percent, interval = _percent_and_interval(record.autoattack_acc, record.n)
    text = f"**AutoAttack** (standard) leaves {percent} % ({interval})."
    over = "PGD-20 alone overestimates robustness by"
    return text if points is None else f"{text} {over} {in_points(points)} points (PGD-20 − AutoAttack)."


def _attacks(record: Record) -> str:
    text = "## Attacks\n\nThe robust accuracy is the worst case over these.\n\n" + _entries(record, record.attacks)
    if any(attack.after for attack in record.attacks):
        text += "\n\nAn attack with names under *after* saw only what these had left right: its accuracy is cumulative."
    return text


def _probes(record: Record) -> str:
    head = "## Probes\n\nMeasured beside the threat model; no part of the robust accuracy.\n\n"
    return head + _entries(record, record.probes) if record.probes else ""


def _entries(record: Record, entries: Sequence[AttackResult]) -> str:
    rows = []
    for entry in entries:
        settings = ", ".join(f"{key} {_setting(key, value)}" for key, value in entry.settings.items())
        seen = UNRECORDED if entry.attacked is None else f"{entry.attacked:,}"
        shown = record.warning or f"{100 * entry.accuracy:.1f}"
        rows.append([entry.name, settings or DASH, seen, ", ".join(entry.after) or DASH, shown])
    return markdown_table(["Name", "Settings", "images seen", "after", "accuracy (%)"], rows)


def _per_class(record: Record) -> str:
    rows = []
    for one in record.per_class:
        robust = record.warning or f"{100 * one.robust_acc:.1f}"
        rows.append([one.name, f"{one.n:,}", f"{100 * one.clean_acc:.1f}", robust])
    return "## Classes\n\n" + markdown_table(["Class", "images", "clean (%)", "robust (%)"], rows) if rows else ""


def _checks(record: Record) -> str:
    passed = ", ".join(with_name(check.id) for check in record.checks if check.verdict == "pass")
    rest = [check for check in record.checks if check.verdict != "pass"]
    parts = [f"## Checks\n\nVerdict: {_verdict(record)}. Looked for and not found: {passed or 'nothing'}."]
    rows = []
    for check in sorted(rest, key=lambda check: ("fail", "warn", "skipped").index(check.verdict)):
        value, threshold = _setting("", check.value), _setting("", check.threshold)
        rows.append([check.name, check.verdict, value, threshold, check.reason or DASH])
    if rows:
        parts.append(markdown_table(["Check", "verdict", "value", "threshold", "reason"], rows))
    return "\n\n".join(parts)


def _verdict(record: Record) -> str:
    return f"{record.word} ({record.verdict_in_words})" if record.word != record.verdict_in_words else record.word


def _provenance(record: Record) -> str:
    lines = [*_training(record), *_measurement(record)]
    return "## Where it comes from\n\n" + "\n".join(f"- {name}: {text}." for name, text in lines)


def _training(record: Record) -> list[tuple[str, str]]:
    training = record.training
    selected, digest, seed = UNKNOWN, UNKNOWN, UNKNOWN
    if training is not None:
        epoch = f"epoch {training.epoch}, counted from 0, of {UNKNOWN if training.epochs is None else training.epochs}"
        chosen = (
            "of the last epoch, as none was above chance" if training.of_no_epoch else f"selected by {training.selected_by}"
        )
        selected = f"{chosen}; {epoch}"
        digest, seed = training.config_digest, str(training.seed)
    no_teacher = "none" if training is not None else UNKNOWN
    return [
        ("Checkpoint", selected),
        ("Method", record.recipe.class_path if record.recipe else UNKNOWN),
        ("Teacher", f"sha256 {record.teacher}" if record.teacher else no_teacher),
        ("Additional data", EXTRA_DATA[record.additional_data]),
        ("Weights", f"sha256 {record.weights.sha256 or UNKNOWN}, {record.params:,} parameters{_pruned(record)}"),
        ("Config digest", digest),
        ("Training seed", seed),
    ]


def _pruned(record: Record) -> str:
    """How many parameters pruning left, and that zeros are no smaller network."""
    pruned = record.pruned
    if pruned is None:
        return ""
    way = f"by {pruned.how}, of sha256 {pruned.of}"
    return f", {pruned.nonzero:,} of them not zero: pruned {way}; the zeros are stored and computed like any number"


def _measurement(record: Record) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    speed = "" if not record.images_per_s else f", {record.images_per_s:.4g} images/s"
    return [
        ("Suite", f"{record.suite}, seed {record.seed}"),
        ("Versions", versions or UNRECORDED),
        ("Commit", record.commit or UNRECORDED),
        ("Time", duration(record.seconds) + speed + _whole_time(record)),
    ]


def _whole_time(record: Record) -> str:
    """With the checks, in the process that wrote the record."""
    if record.time is None:
        return ""
    wall, cpu = duration(record.time.wall_seconds), duration(record.time.cpu_seconds)
    return f"; with the checks {wall} by the clock, {cpu} of CPU"


def _limits(record: Record) -> str:
    kind, accuracy = ("clean", record.clean_acc) if record.warning else ("robust", record.robust_acc)
    low, high = wilson_interval(accuracy, record.n)
    lines = ["Accuracy under attack is an upper bound on robustness, never a proof: a stronger attack can only lower it."]
    if record.autoattack_acc is None:
        whole = " whole" if any(attack.group == "AutoAttack" for attack in record.attacks) else ""
        lines.append(f"AutoAttack did not run{whole}: these numbers do not compare with those of AutoAttack.")
    lines += [
        f"With {record.n:,} images the interval of the {kind} accuracy is {100 * (high - low):.1f} points wide.",
        "This is one training run: the intervals cover the choice of images, not of the training seed.",
        f"The robust accuracy says nothing of attacks outside {record.threat.words}.",
        *record.notes,
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _percent_and_interval(accuracy: float, n: int) -> tuple[str, str]:
    low, high = wilson_interval(accuracy, n)
    return f"{100 * accuracy:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"


def _setting(key: str, value: Any) -> str:
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return radius(value) if key in ("eps", "step_size") else f"{value:.4g}"
    return str(value)
