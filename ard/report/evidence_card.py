"""The evidence card: everything needed to judge one record, on one page."""

from collections.abc import Sequence
from typing import Any

from ard.artifacts.check_names import with_name
from ard.artifacts.record import Record
from ard.artifacts.record_parts import AttackResult
from ard.core.statistics import wilson_interval
from ard.core.text import DASH, duration, in_points, markdown_table, one_line, radius

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


def threat_model(record: Record) -> str:
    """What the attacker knows and may do."""
    reach = REACH.get(record.threat.norm, f"may move an image by up to {{eps}} in the norm {record.threat.norm}")
    return (
        f"White box: the attacker knows the network, its weights and the right answer, and "
        f"{reach.format(eps=radius(record.threat.eps))}. Pixels lie in [0, 1] and stay there"
        f"{', at the levels of 8 bits' if record.threat.eight_bit else ''}."
    )


def images_used(record: Record) -> str:
    """How many images of which data, and their digest."""
    drawn = "" if record.limit is None else f", drawn evenly over the classes by a limit of {record.limit:,}"
    return f"{record.n:,} of the {record.split} split of {record.dataset.name}{drawn}; digest {record.dataset.digest}."


def _head(record: Record) -> str:
    head = one_line(f"# {record.model.architecture} on {record.dataset.name}")
    return f"{head}\n\n**Threat model.** {threat_model(record)}\n\n**Images.** {images_used(record)}"


def _accuracy(record: Record) -> str:
    rows = [["clean", *percent_and_interval(record.clean_acc, record.n)]]
    robust = percent_and_interval(record.robust_acc, record.n)
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
    percent, interval = percent_and_interval(record.autoattack_acc, record.n)
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
    return markdown_table(["Name", "Settings", "images seen", "after", "accuracy (%)"], attack_cells(record, entries))


def attack_cells(record: Record, entries: Sequence[AttackResult]) -> list[list[str]]:
    """A line an attack or probe: name, settings, images seen, the attacks before it, accuracy in percent or the warning."""
    rows = []
    for entry in entries:
        settings = ", ".join(f"{key} {setting_in_words(key, value)}" for key, value in entry.settings.items())
        seen = UNRECORDED if entry.attacked is None else f"{entry.attacked:,}"
        shown = record.warning or f"{100 * entry.accuracy:.1f}"
        rows.append([entry.name, settings or DASH, seen, ", ".join(entry.after) or DASH, shown])
    return rows


def _per_class(record: Record) -> str:
    rows = []
    for one in record.per_class:
        robust = record.warning or f"{100 * one.robust_acc:.1f}"
        rows.append([one.name, f"{one.n:,}", f"{100 * one.clean_acc:.1f}", robust])
    return "## Classes\n\n" + markdown_table(["Class", "images", "clean (%)", "robust (%)"], rows) if rows else ""


def _checks(record: Record) -> str:
    passed = ", ".join(with_name(check.id) for check in record.checks if check.verdict == "pass")
    rest = [check for check in record.checks if check.verdict != "pass"]
    parts = [f"## Checks\n\nVerdict: {verdict_explained(record)}. Looked for and not found: {passed or 'nothing'}."]
    rows = []
    for check in sorted(rest, key=lambda check: ("fail", "warn", "skipped").index(check.verdict)):
        value, threshold = setting_in_words("", check.value), setting_in_words("", check.threshold)
        rows.append([check.name, check.verdict, value, threshold, check.reason or DASH])
    if rows:
        parts.append(markdown_table(["Check", "verdict", "value", "threshold", "reason"], rows))
    return "\n\n".join(parts)


def verdict_explained(record: Record) -> str:
    """The word, and what it means where that is not the word itself."""
    return f"{record.word} ({record.verdict_in_words})" if record.word != record.verdict_in_words else record.word


def _provenance(record: Record) -> str:
    lines = [*training_facts(record), *measurement_facts(record)]
    return "## Where it comes from\n\n" + "\n".join(one_line(f"- {name}: {text}.") for name, text in lines)


def training_facts(record: Record) -> list[tuple[str, str]]:
    """How the weights came about, as far as the record says: names and words."""
    training = record.training
    selected, digest, seed = UNKNOWN, UNKNOWN, UNKNOWN
    if training is not None:
        epoch = f"epoch {training.epoch}, counted from 0, of {UNKNOWN if training.epochs is None else training.epochs}"
        chosen = (
            "of the last epoch, as none was above chance" if training.of_no_epoch else f"selected by {training.selected_by}"
        )
        selected = f"{chosen}; {epoch}"
        if training.resumed_with:
            selected += f"; resumed with {', '.join(training.resumed_with)}"
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
    zeros = "; the zeros are stored and computed like any number" if pruned.nonzero < record.params else ""
    return f", {pruned.nonzero:,} of them not zero: pruned by {pruned.how}, of sha256 {pruned.of}{zeros}"


def measurement_facts(record: Record) -> list[tuple[str, str]]:
    """How they were measured: names and words."""
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
    return "## Limits\n\n" + "\n".join(one_line(f"- {line}") for line in what_it_does_not_say(record))


def what_it_does_not_say(record: Record) -> list[str]:
    """A sentence for everything that its numbers must not be taken for, and the notes of the evaluation."""
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
    return lines


def percent_and_interval(accuracy: float, n: int) -> tuple[str, str]:
    """An accuracy in percent, and its 95 % interval over images (Wilson)."""
    low, high = wilson_interval(accuracy, n)
    return f"{100 * accuracy:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"


def setting_in_words(key: str, value: Any) -> str:
    """A setting of an attack, or a check's number; a radius as people write it."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return radius(value) if key in ("eps", "step_size") else f"{value:.4g}"
    return str(value)
