"""Records of studies that nobody ran, and what the tables say of them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from ard.artifacts.facts import NetworkSpec, Recipe, Threat, TrainingFacts
from ard.artifacts.record import Record
from ard.artifacts.record_file import write_record
from ard.artifacts.record_parts import AttackResult, CheckResult, DatasetSpec, RunInfo, WeightsFile
from ard.artifacts.typed_json import from_tree
from ard.core.bits import pack

N = 500
BLOCK = {"lr": 0.1, "average": None, "monitor": "val/robust_acc"}
TRAINING = TrainingFacts(
    block=BLOCK,
    epochs=40,
    seconds=72.0,
    images_per_s=1000.0,
    device="cpu",
    precision="32-true",
    selected_by="val/robust_acc",
    epoch=38,
    seed=0,
    config_digest="d265fe90f2521d87",
)


def first(accuracy: float, n: int = N) -> np.ndarray:
    """Right on the first images: two of these are nested, so their paired difference has one sign on every image."""
    return np.arange(n) < round(accuracy * n)


def drawn(accuracy: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(N) < round(accuracy * N)


def attack(name: str, accuracy: float, seen: int = 480, *after: str, **more: Any) -> AttackResult:
    settings = more.pop("settings", {"steps": 20})
    return AttackResult(name=name, settings=settings, accuracy=accuracy, attacked=seen, after=after, seconds=1.0, **more)


def check(name: str, verdict: Any, value: Any = None, threshold: Any = None, reason: str = "why") -> CheckResult:
    return CheckResult(id=name, value=value, threshold=threshold, verdict=verdict, reason=reason)


def checks(**verdicts: str) -> tuple[CheckResult, ...]:
    return tuple(check(name, verdict) for name, verdict in verdicts.items())


def dataset(name: str = "Digits", digest: str = "0123456789abcdef") -> DatasetSpec:
    return DatasetSpec(name=name, class_path="ard.data.Digits", init_args={}, digest=digest)


def with_bits(record: Record, clean: np.ndarray, worst: np.ndarray) -> Record:
    """The same with verdicts, which make its accuracies: what an attack leaves beside the worst case, the next does not."""
    others = np.flatnonzero(clean & ~worst)[: clean.sum() - worst.sum()]
    clean = worst.copy()  # and as many others as were asked for
    clean[others] = True
    spare, bits = np.flatnonzero(clean & ~worst), {}
    for place, each in enumerate(record.attacks):
        more, left = round(each.accuracy * len(clean)) - int(worst.sum()), worst.copy()
        assert 0 <= more <= len(spare), f"{each.name}: {each.accuracy} is not between the worst case and clean"
        left[spare[len(spare) - more :] if place % 2 else spare[:more]] = True
        bits[each.name] = pack(left)
    accuracies = {"clean_acc": float(clean.mean()), "robust_acc": float(worst.mean())}
    return replace(record, n=len(clean), bits={"clean": pack(clean), **bits, "worst": pack(worst)}, **accuracies)


def typed(changes: dict[str, Any]) -> dict[str, Any]:
    """Changes to a record; what is written as JSON would have it becomes what the record has."""
    hints = get_type_hints(Record, include_extras=True)
    return {
        key: from_tree(hints[key], value, key) if isinstance(value, dict | list) else value for key, value in changes.items()
    }


def run_of(path: Path) -> RunInfo:
    """What a study would say of a run that lies there: .../study/method-knob-value/seed0/last.evaluation.json."""
    seed = int(path.parent.name[4:]) if path.parent.name.startswith("seed") else 0
    home = path.parent.parent if path.parent.name.startswith("seed") else path.parent
    teacher = home.parent.name == "teachers"
    swept = re.fullmatch(r"(.+)-(beta|alpha)-([\d.]+)", home.name)
    return RunInfo(
        study=home.parent.parent.name if teacher else home.parent.name,
        method=swept[1] if swept else home.name,
        role="teacher" if teacher else "student",
        checkpoint="last" if path.name.startswith("last") else "best",
        seed=seed,
        swept={f"model.init_args.objective.init_args.{swept[2]}": float(swept[3])} if swept else {},
        teachers={},
    )


def write(path: Path, clean: np.ndarray, worst: np.ndarray, **changes: Any) -> Record:
    """A record of a run of a study; with training=None, of weights that no run is known of."""
    worst_acc, run = float(worst.mean()), run_of(path)
    record = Record(
        schema=3,
        key="0123456789ab",
        weights=WeightsFile(path="student.safetensors", sha256=f"{abs(hash(str(path))):064x}"),
        model=NetworkSpec(class_path="ard.models.mobilenet.MobileNetV2", init_args={}),
        dataset=dataset(),
        split="test",
        limit=None,
        suite="quick",
        params=12345,
        macs=67890,
        n=len(clean),
        threat=Threat(norm="Linf", eps=0.15),
        clean_acc=0.0,
        attacks=tuple(attack(name, worst_acc, settings={}) for name in ("FGSM", "Odd-7")),
        robust_acc=0.0,
        stderr=0.02,
        per_class=(),
        bits={},
        checks=checks(V1="pass", V4="pass"),
        verdict="sound",
        seconds=1.0,
        seed=0,
        versions={"ard": "0.1.0"},
        commit=None,
        recipe=None,
        teacher=None,
        training=replace(
            TRAINING, selected_by="last epoch" if run.checkpoint == "last" else "val/robust_acc", seed=run.seed
        ),
        run=run if changes.get("training", TRAINING) else None,
    )
    record = with_bits(replace(record, **typed(changes)), clean, worst)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, record)
    return record


def cells(text: str, method: str) -> dict[str, str]:
    """The row of a method in the first table, by column."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return dict(zip(lines[0], next(line for line in lines if line[0] == method), strict=True))


def differences(text: str, method: str) -> list[str]:
    table = text[text.index("| Method − ") :]
    return next(line for line in table.splitlines() if line.startswith(f"| {method} |")).split(" | ")


def write_study(root: Path) -> Path:
    """A teacher, a strong distilled student and a weaker one without a teacher."""
    weights = {"path": "student.safetensors", "sha256": "f" * 64}
    write(root / "teachers/robust/evaluation.json", first(0.99), first(0.9), weights=weights)
    write(root / "ard/seed0/evaluation.json", first(0.95), first(0.8), teacher="f" * 64)
    write(root / "ard/seed0/last.evaluation.json", first(0.94), first(0.78), teacher="f" * 64)
    write(root / "pgd_at/seed0/evaluation.json", first(0.95), first(0.7))
    return root


def full_record(**changes: Any) -> Record:
    """A record of the full suite in which no two robust numbers are alike, so that each can be looked for.

    `changes` as a record has them, or as JSON would; its verdicts follow its accuracies.
    """
    settings = {"steps": 20, "step_size": 2 / 255}
    record = Record(
        schema=3,
        key="0123456789ab",
        weights=WeightsFile(path="student.safetensors", sha256="a" * 64),
        model=NetworkSpec(class_path="ard.models.WideResNet", init_args={"depth": 34, "widen": 20}),
        dataset=dataset("CIFAR-10"),
        split="test",
        limit=None,
        suite="full",
        params=12345,
        macs=67890,
        n=10000,
        threat=Threat(norm="Linf", eps=8 / 255),
        clean_acc=0.8534,
        attacks=(
            attack("PGD-20", 0.5671, 8534, settings=settings),
            attack("APGD-CE", 0.5553, 8534, group="AutoAttack"),
            attack("APGD-T", 0.5349, 5553, "APGD-CE", group="AutoAttack"),
            attack("Square", 0.5342, 5349, "APGD-CE", "APGD-T", group="AutoAttack"),
        ),
        robust_acc=0.5317,
        stderr=0.005,
        autoattack_acc=0.5342,
        probes=(attack("PGD-20 at 2 eps", 0.2119, 8534), attack("gaussian noise", 0.7723, 8534)),
        curve=from_tree(
            get_type_hints(Record, include_extras=True)["curve"],
            [
                {"eps": k * 8 / 255, "accuracy": a, "stderr": 0.005}
                for k, a in ((0, 0.8534), (0.25, 0.79), (1, 0.5671), (4, 0.0))
            ],
        ),
        per_class=from_tree(
            get_type_hints(Record, include_extras=True)["per_class"],
            [
                {"class": "cat", "n": 5000, "clean_acc": 0.7412, "robust_acc": 0.3129},
                {"class": "a|b", "n": 5000, "clean_acc": 0.9656, "robust_acc": 0.7505},
            ],
        ),
        bits={},
        checks=(
            check("V1", "pass", 0.031, 0.031, "the largest perturbation"),
            check("O9", "skipped", None, None, "no curve | asked for"),
        ),
        verdict="sound",
        notes=("3 classes: the targeted parts of AutoAttack are left out",),
        seconds=12.3,
        images_per_s=33.1,
        device="cpu",
        seed=7,
        versions={"ard": "0.1.0", "torch": "2.15.0"},
        commit="7e6989e6cabf",
        additional_data=False,
        recipe=Recipe(engine="ard.Distillation", class_path="ard.objectives.rslad.RSLAD"),
        teacher="f" * 64,
        training=replace(TRAINING, seed=3),
    )
    record = replace(record, **typed(changes))
    return with_bits(record, first(record.clean_acc, record.n), first(record.robust_acc, record.n))


def unreliable(**changes: Any) -> Record:
    """The same record with two failed checks."""
    failed = (
        check("O10", "fail", 2, 1, "random search beats the gradient"),
        check("O6", "fail", 2, 1, "more steps do not hurt"),
    )
    return full_record(**{"verdict": "unreliable", "checks": failed, **changes})
