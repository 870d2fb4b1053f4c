"""Where a record comes from: training, weights, code."""

from typing import Any

from ard.report.table import NONE, training_time

EXTRA = {True: "used", False: "none", None: "not said"}


def provenance(record: dict[str, Any]) -> str:
    """A list in Markdown of how the weights came about and what measured them; what the record lacks is said to lack."""
    lines = [*_training(record), *_measurement(record)]
    return "## Where it comes from\n\n" + "\n".join(f"- {name}: {text}." for name, text in lines)


def _training(record: dict[str, Any]) -> list[tuple[str, str]]:
    training, recipe, teacher = record["training"], record.get("recipe"), record["teacher"]
    method = recipe.get("class_path") if isinstance(recipe, dict) else recipe
    unknown = "not known"
    if training is None:
        selected, digest, seed = unknown, unknown, unknown
    else:
        epoch = f"epoch {training.get('epoch', unknown)}, counted from 0, of {training['epochs']}"
        selected = f"selected by {training.get('selected_by') or unknown}; {epoch}"
        digest, seed = (str(training.get(key, unknown)) for key in ("config_digest", "seed"))
    return [
        ("Checkpoint", selected),
        ("Method", str(method or unknown)),
        ("Teacher", f"sha256 {teacher}" if teacher else "none" if training else unknown),
        ("Additional data", EXTRA[record.get("additional_data")]),
        ("Weights", f"sha256 {record['weights']['sha256']}, {record['params']:,} parameters"),
        ("Config digest", digest),
        ("Training seed", seed),
    ]


def _measurement(record: dict[str, Any]) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in (record.get("versions") or {}).items())
    seconds, speed = record.get("seconds"), record.get("images_per_s")
    return [
        ("Suite", f"{record['suite']}, seed {record.get('seed', 'not recorded')}"),
        ("Versions", versions or "not recorded"),
        ("Commit", str(record.get("commit") or "not recorded")),
        ("Time", (NONE if seconds is None else training_time(seconds)) + (f", {speed:.4g} images/s" if speed else "")),
    ]
