"""The record of an evaluation: its fields, and what they say; record_file reads and writes it.

Schema 1 knew no attack's work, no probes and no networks given; schema 2 did. Schema 3 adds `run`, which records that were
written before were given, too, and `training.config`. Schema 4 adds the digest of the record itself: what was changed after
it was written is refused. A record is written back in the schema it has, to the byte.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np

from ard.artifacts.check_names import CHANCE, by_number
from ard.artifacts.facts import NetworkSpec, Pruned, Recipe, Threat, TrainingFacts, fold_of
from ard.artifacts.record_parts import (
    AttackResult,
    CheckResult,
    ClassResult,
    CurvePoint,
    DatasetSpec,
    GivenFiles,
    Overall,
    RunInfo,
    TimeTaken,
    Verdict,
    WeightsFile,
)
from ard.artifacts.typed_json import OMITTED, SINCE_2, SINCE_4, Count, Fraction, Size
from ard.core.bits import unpack
from ard.core.statistics import wilson_interval
from ard.core.text import percent, percent_within

SCHEMA: Literal[4] = 4

REHEARSED = "a rehearsal"  # how the note begins of a record that measured nothing
WHOLE_CASCADE = {"APGD-CE", "Square"}  # AutoAttack's first and last part; those between need 4 classes


class Repetition(NamedTuple):
    """What tells the runs of one method apart: the training seed, and which fold was for test."""

    seed: int
    fold: int | None

    @property
    def words(self) -> str:
        """As a reader names it."""
        return f"seed {self.seed}" if self.fold is None else f"fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One evaluation of one network: the numbers with everything needed to check them. Fields in the order of the file.

    Accuracies are fractions of `n` images. `bits` holds a verdict an image, packed: "clean", each attack, and "worst", which
    is right on the clean image and after every attack. `robust_acc` is the mean of "worst". `digest` is the SHA-256 of the
    record without it; it is empty in memory and in records before schema 4. `params` and `macs` are those of the whole
    network, also where weights were `pruned`.
    """

    schema: Literal[1, 2, 3, 4] = SCHEMA
    key: str | None = field(default=None, metadata=SINCE_2)
    weights: WeightsFile
    model: NetworkSpec
    dataset: DatasetSpec
    split: str
    limit: Count | None
    suite: str
    params: Count
    macs: Count
    n: Count
    threat: Threat
    clean_acc: Fraction
    attacks: tuple[AttackResult, ...]
    robust_acc: Fraction
    stderr: Size
    autoattack_acc: Fraction | None = field(default=None, metadata=SINCE_2)
    probes: tuple[AttackResult, ...] = field(default=(), metadata=SINCE_2)
    curve: tuple[CurvePoint, ...] = field(default=(), metadata=SINCE_2)
    per_class: tuple[ClassResult, ...]
    bits: dict[str, str]
    checks: tuple[CheckResult, ...]
    verdict: Overall
    notes: tuple[str, ...] = field(default=(), metadata=SINCE_2)
    seconds: Size
    images_per_s: Size | None = field(default=None, metadata=SINCE_2)
    device: str | None = field(default=None, metadata=SINCE_2)
    seed: int
    versions: dict[str, str]
    commit: str | None
    given: GivenFiles = field(default=GivenFiles(), metadata=SINCE_2)
    additional_data: bool | None = field(default=None, metadata=SINCE_2)
    recipe: Recipe | None
    teacher: str | None
    training: TrainingFacts | None
    run: RunInfo | None = field(default=None, metadata=OMITTED)
    pruned: Pruned | None = field(default=None, metadata=OMITTED)
    time: TimeTaken | None = field(default=None, metadata=OMITTED)
    digest: str = field(default="", metadata=SINCE_4)

    @cached_property
    def clean(self) -> np.ndarray:
        """(n,) booleans: right on the image."""
        return unpack(self.bits["clean"], self.n)

    @cached_property
    def worst(self) -> np.ndarray:
        """(n,) booleans: right on the image and after every attack."""
        return unpack(self.bits["worst"], self.n)

    @property
    def is_rehearsed(self) -> bool:
        """Whether attacks of a few steps were tried on a few images, which says nothing of the network."""
        return any(note.startswith(REHEARSED) for note in self.notes)

    @property
    def is_last(self) -> bool:
        """Whether the weights are of the last epoch, not of the one that was selected."""
        if self.run is not None:
            return self.run.checkpoint == "last"
        return self.training is not None and self.training.of_last_epoch

    @property
    def is_above_chance(self) -> bool:
        """Whether the network does more than name one class, as far as O20 was asked."""
        return CHANCE not in {check.id for check in self.warned}

    @property
    def training_seed(self) -> int:
        """Of the run that made the weights; 0 where that is not known."""
        return self.run.seed if self.run is not None else self.training.seed if self.training is not None else 0

    @property
    def word(self) -> Overall:
        """The verdict as it is shown: where an old record says "sound" without AutoAttack, "upper bound"."""
        return word_of(self.verdict, self.attacks)

    @property
    def verdict_in_words(self) -> str:
        """The word, and what it means where it could be taken for more."""
        look = "quick look, " if self.suite == "quick" else ""
        return f"no check failed; {look}AutoAttack not run: an upper bound" if self.word == "upper bound" else self.word

    @property
    def failed(self) -> list[CheckResult]:
        """The checks that failed, in the order of their numbers."""
        return self._checks("fail")

    @property
    def warned(self) -> list[CheckResult]:
        """The checks that warned, in the order of their numbers."""
        return self._checks("warn")

    @property
    def warning(self) -> str:
        """The text shown in place of robust numbers where a check failed; empty where none did."""
        return warning_of([self])

    @property
    def explained_warning(self) -> str:
        """The warning with the name and the reason of every failed check."""
        reasons = "; ".join(f"{check.name}: {check.reason}" for check in self.failed)
        return f"UNRELIABLE ({reasons or 'no check named'})" if self.warning else ""

    @property
    def standalone(self) -> dict[str, float]:
        """Accuracy by attack, of those attacks that were shown every image the network gets right."""
        return {attack.name: attack.accuracy for attack in self.attacks if not attack.after and not attack.group}

    @property
    def overestimation(self) -> float | None:
        """Accuracy after PGD-20 − accuracy after AutoAttack; None where one of them is not known."""
        pgd = self.standalone.get("PGD-20")
        return None if pgd is None or self.autoattack_acc is None else pgd - self.autoattack_acc

    @property
    def fold(self) -> int | None:
        """Which part of all images was for test; None for the data set's own test split."""
        return fold_of({"init_args": self.dataset.init_args})

    @property
    def accuracy_by_radius(self) -> dict[float, float]:
        """After PGD-20 by its radius, 0 for the clean images, from the smallest up."""
        points = {0.0: self.clean_acc} | {float(point.eps): point.accuracy for point in self.curve}
        return dict(sorted(points.items()))

    @property
    def repetition(self) -> Repetition:
        """Which of the runs of one method it is of."""
        return Repetition(self.training_seed, self.fold)

    @property
    def settings(self) -> dict[str, str]:
        """What must agree before two records may be compared, as a reader would write it; of folds, before they are one."""
        whole = self.fold is None
        return {
            "dataset": f"{self.dataset.name} ({self.dataset.digest[:8] if whole else 'folds'})",
            "split": self.split if whole else f"{self.split}, each image in one fold",
            "n": str(self.n) if whole else "of a fold" if self.limit is None else f"{self.limit} of a fold",
            "threat": self.threat.words,
            "suite": self.suite,
        }

    def __str__(self) -> str:
        """A few lines: what was measured, what came out; where a check failed, its name in place of every robust number."""
        split = "" if self.split == "in memory" else f" {self.split}"
        lines = [f"{self.dataset.name}{split}, n = {self.n}, {self.threat.words}{', A REHEARSAL' * self.is_rehearsed}"]
        if self.failed:
            lines += [f"  clean {percent(self.clean_acc)}", f"  UNRELIABLE: {_in_words(self.failed)}"]
        else:
            attacks = self.standalone | ({} if self.autoattack_acc is None else {"AA": self.autoattack_acc})
            shown = "  ".join(f"{name} {percent(value)}" for name, value in [("clean", self.clean_acc), *attacks.items()])
            worst = percent_within(self.robust_acc, *wilson_interval(self.robust_acc, self.n))
            lines += [f"  {shown}", f"  worst case {worst}  ({self.verdict_in_words})"]
        return "\n".join([*lines, *([f"  warnings: {_in_words(self.warned)}"] if self.warned else [])])

    def _checks(self, verdict: Verdict) -> list[CheckResult]:
        return sorted((check for check in self.checks if check.verdict == verdict), key=lambda check: by_number(check.id))


def word_of(verdict: Overall, attacks: Iterable[AttackResult]) -> Overall:
    """The word for a verdict of these attacks: nothing is sound that AutoAttack was not tried on, in all its steps."""
    # an attack of AutoAttack that had few steps or queries says so in its settings
    whole = [attack for attack in attacks if "queries" not in attack.settings]
    ran = {attack.name for attack in whole if attack.group == "AutoAttack"} >= WHOLE_CASCADE
    return "upper bound" if verdict == "sound" and not ran else verdict


def _in_words(checks: Sequence[CheckResult]) -> str:
    return ", ".join(
        f"{check.name} ({check.reason}: {_short(check.value)}, at most {_short(check.threshold)})"
        if isinstance(check.threshold, float | int) and not isinstance(check.threshold, bool)
        else f"{check.name} (does not hold: {check.reason})"
        for check in checks
    )


def _short(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def warning_of(records: Iterable[Record]) -> str:
    """The text shown in place of robust numbers where a check failed in any of these records; else empty."""
    unreliable = [record for record in records if record.verdict == "unreliable"]
    ids = {check.id for record in unreliable for check in record.failed}
    return f"UNRELIABLE ({', '.join(sorted(ids, key=by_number)) or 'no check named'})" if unreliable else ""
