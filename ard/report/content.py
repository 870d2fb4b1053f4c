"""What one record says: whether to believe it, which attacks stand for themselves, what its network is called."""

from collections.abc import Iterable
from typing import Any


def warning(records: Iterable[dict[str, Any]]) -> str:
    """What stands in place of robust numbers that failed a check; empty where they may be shown."""
    unreliable = [record for record in records if record["verdict"] == "unreliable"]
    ids = {check["id"] for record in unreliable for check in failed(record)}
    return f"UNRELIABLE ({', '.join(sorted(ids, key=_by_number)) or 'no check named'})" if unreliable else ""


def warning_with_reasons(record: dict[str, Any]) -> str:
    """The warning of one record and why; empty where its robust numbers may be shown."""
    short = warning([record])
    reasons = "; ".join(str(check["reason"]) for check in failed(record) if check.get("reason"))
    return f"{short}: {reasons}" if short and reasons else short


def failed(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The checks that a record failed, in the order of their names."""
    return sorted((c for c in record["checks"] if c["verdict"] == "fail"), key=lambda check: _by_number(check["id"]))


def warned(records: Iterable[dict[str, Any]]) -> list[str]:
    """The checks that warned in any of these records, in the order of their names."""
    found = {check["id"] for record in records for check in record["checks"] if check["verdict"] == "warn"}
    return sorted(found, key=_by_number)


def standalone(record: dict[str, Any]) -> dict[str, float]:
    """Accuracy by attack, of those attacks that were shown every image the network gets right."""
    alone = [a for a in record["attacks"] if not a.get("after") and not a.get("group")]
    return {attack["name"]: attack["accuracy"] for attack in alone}


def overestimation(record: dict[str, Any]) -> float | None:
    """Accuracy after PGD-20 − accuracy after AutoAttack; None where one of them is not known."""
    pgd, autoattack = standalone(record).get("PGD-20"), record.get("autoattack_acc")
    return None if pgd is None or autoattack is None else pgd - autoattack


def innermost(model: dict[str, Any]) -> dict[str, Any]:
    """The network itself, without the wrappers around it."""
    inner = (model.get("init_args") or {}).get("network")
    return innermost(inner) if isinstance(inner, dict) and "class_path" in inner else model


def architecture(model: dict[str, Any]) -> str:
    """WideResNet-34-10, the name in somebody's library, or the class of the network."""
    network = innermost(model)
    kind, settings = str(network["class_path"]).rpartition(".")[2], network.get("init_args") or {}
    if kind in ("Torchvision", "Timm"):
        return str(settings.get("name", kind))
    return "-".join([kind, *(str(settings[key]) for key in ("depth", "widen") if key in settings)])


def _by_number(name: str) -> tuple[str, int, str]:
    """O6 before O10."""
    return name[:1], len(name), name
