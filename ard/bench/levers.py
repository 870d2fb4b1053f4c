"""What is measured: the released steps, and ours with one lever after another."""

from dataclasses import dataclass, replace
from typing import Literal

WITHOUT = "without CUDA graphs"
ATTACK_ALONE = "the attack alone as a CUDA graph"
SHORT_GROUPS = ("ARD, MobileNetV2", "ARD, ResNet-18", "RSLAD, ")


@dataclass(frozen=True, kw_only=True)
class BenchRow:
    """One way to take a training step; `lever`: what it has that the row before lacks; a group begins with its reference."""

    group: str
    lever: str
    method: Literal["ARD", "RSLAD"] = "ARD"
    student: Literal["MobileNetV2", "ResNet-18"] = "MobileNetV2"
    teacher: Literal["ResNet-18", "WRN-34-10"] = "ResNet-18"
    teacher_in: Literal["as the student", "float32", "cache"] = "as the student"
    released: bool = False
    channels_last: bool = True
    attack_mode: Literal["eval", "train"] = "eval"
    bfloat16: bool = True
    huge_pages: bool = True
    attack: Literal["PGD", "NFGSM", "replays", "torchattacks"] = "PGD"
    graphs: Literal["attack and loss", "attack", "none"] = "attack and loss"  # on CUDA; a CPU does without
    fused: bool = False
    compiled: bool = False
    networks: Literal["fresh", "trained"] = "fresh"

    @property
    def name(self) -> str:
        return f"{self.group}: {self.lever}"

    @property
    def captured(self) -> bool:
        """Whether a step on CUDA is replayed from graphs, as ard.Distillation would: others are no graph there either."""
        usual = self.attack == "PGD" and self.attack_mode == "eval" and self.teacher_in != "cache"
        return usual and not self.released and self.graphs != "none"

    @property
    def same_mathematics(self) -> bool:
        """In exact arithmetic the released step and this one compute the same (BatchNorm statistics aside)."""
        usual = self.attack == "PGD" and self.teacher == "ResNet-18" and not self.bfloat16
        return usual and self.attack_mode == ("train" if self.method == "ARD" else "eval")


def every_row() -> list[BenchRow]:
    """Every row of the table, each group's reference first."""
    return [
        *_ard_mobilenet(),
        *_ard_resnet(),
        *_rslad("MobileNetV2"),
        *_rslad("ResNet-18"),
        *_teachers(),
        *_fast(),
        *_idle(),
    ]


def measured_rows() -> list[BenchRow]:
    """Every row on trained networks, and beside each shipped default of a group the same on fresh ones."""
    rows = []
    for row in every_row():
        rows.append(replace(row, networks="trained"))
        if row.lever.endswith("the shipped default") and row.group.startswith(SHORT_GROUPS):
            rows.append(replace(row, lever="the shipped default, networks never trained"))
    return rows


def _ard_mobilenet() -> list[BenchRow]:
    group = "ARD, MobileNetV2"
    slow = BenchRow(group=group, lever="no unused forward", channels_last=False, bfloat16=False, huge_pages=False)
    lean = replace(slow, attack_mode="train")
    ard = replace(lean, released=True, lever="released")
    last = replace(lean, channels_last=True, lever="+ channels_last (identical mathematics)")
    fold = replace(last, attack_mode="eval", lever="+ attack in eval mode, BatchNorm folded")
    large = replace(fold, huge_pages=True, lever="+ huge pages: shipped, without bfloat16")
    half = replace(large, bfloat16=True, lever="+ bfloat16: the shipped default")
    return [
        *(ard, lean, last, fold, large, half),
        replace(half, graphs="attack", lever=ATTACK_ALONE),
        replace(half, graphs="none", lever=WITHOUT),
        replace(half, attack_mode="train", lever="bfloat16, attack in train mode"),
        replace(large, attack="torchattacks", lever="torchattacks.PGD, float32"),
        replace(half, attack="torchattacks", lever="torchattacks.PGD, bfloat16"),
    ]


def _ard_resnet() -> list[BenchRow]:
    ard, _, last, _, _, half, *_ = (replace(row, group="ARD, ResNet-18", student="ResNet-18") for row in _ard_mobilenet())
    last = replace(last, lever="no unused forward, channels_last (identical mathematics)")
    return [ard, last, replace(half, lever="the shipped default"), replace(half, graphs="none", lever=WITHOUT)]


def _rslad(student: Literal["MobileNetV2", "ResNet-18"]) -> list[BenchRow]:
    shipped = BenchRow(group=f"RSLAD, {student}", lever="bfloat16: the shipped default", method="RSLAD", student=student)
    same = replace(shipped, bfloat16=False, lever="channels_last, folded, huge pages (identical mathematics)")
    return [replace(same, released=True, channels_last=False, huge_pages=False, lever="released"), same, shipped]


def _teachers() -> list[BenchRow]:
    exact = BenchRow(
        group="ARD, MobileNetV2, teacher WRN-34-10", lever="teacher in float32", teacher="WRN-34-10", teacher_in="float32"
    )
    return [
        exact,
        replace(exact, teacher_in="as the student", lever="teacher in bfloat16"),
        replace(exact, teacher_in="cache", lever="teacher's logits cached"),
    ]


def _fast() -> list[BenchRow]:
    ard = BenchRow(group="fewer passes, MobileNetV2", lever="ARD, PGD: the shipped default")
    return [
        ard,
        replace(ard, attack="NFGSM", lever="N-FGSM + ARD"),
        replace(ard, attack="replays", lever="Fast-ARD, one of 8 replays"),
    ]


def _idle() -> list[BenchRow]:
    ard = BenchRow(group="no part of the default, MobileNetV2", lever="ARD: the shipped default")
    return [ard, replace(ard, fused=True, lever="fused SGD"), replace(ard, compiled=True, lever="outer step compiled")]
