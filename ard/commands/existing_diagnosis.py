"""The diagnosis already beside the weights: what was measured alike is kept beside the new, and nothing else is lost."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ard.artifacts.diagnosis import Diagnosis, diagnosis_of, pictures_of, read_diagnosis
from ard.artifacts.facts import Threat
from ard.artifacts.paths import record_of
from ard.artifacts.record_parts import WeightsFile
from ard.artifacts.tensors import read_bytes
from ard.commands.existing_record import check_weights_gone
from ard.commands.subject import Subject
from ard.core.devices import device_name
from ard.core.errors import UserError
from ard.core.text import first_few
from ard.evaluation.measurement import versions
from ard.evaluation.request import Request


@dataclass(frozen=True)
class EarlierDiagnosis:
    """The one beside the weights of `subject`, which is about to be diagnosed with `teacher`; None where there is none."""

    subject: Subject
    request: Request
    teacher: WeightsFile | None

    @property
    def path(self) -> Path:
        """Where both belong."""
        return diagnosis_of(record_of(self.subject.weights))

    def kept(self, names: Collection[str]) -> Diagnosis | None:
        """What stays beside the results of `names`; None where nothing does.

        Raises UserError where results, images or another kind of diagnosis would be lost, unless that was asked for. The
        diagnosis of weights that are no longer there does not count.
        """
        try:
            there = None if self.request.replace else read_diagnosis(self.path)
        except UserError:  # none, or a damaged one
            there = None
        if there is None:
            return None
        if there.weights.sha256 != self.subject.sha256:
            check_weights_gone(self.path, record_of(self.subject.weights), there.weights, self.subject)
            return None
        if self._is_alike(there):
            return there
        self._check_nothing_lost(there, names)
        return None

    def _is_alike(self, there: Diagnosis) -> bool:
        """Of the same images, radius, seed, versions, device and teacher, where both had one: together they are one."""
        same = (there.dataset.digest, there.n, there.seed) == (self.subject.digest, len(self.subject.y), self.request.seed)
        same &= (there.versions, there.device) == (versions(), device_name(self.subject.x.device))
        teachers = {teacher.sha256 for teacher in (there.teacher, self.teacher) if teacher}
        return same and there.threat == self._threat and len(teachers) < 2

    @property
    def _threat(self) -> Threat:
        return Threat(norm=self.subject.ball.norm, eps=self.subject.ball.eps)

    def _check_nothing_lost(self, there: Diagnosis, names: Collection[str]) -> None:
        lost = [result.name for result in there.results if result.name not in names]
        now = self._words(self.subject.section["name"], self.request.split, self._threat, self.teacher)
        then = self._words(there.dataset.name, there.split, there.threat, there.teacher)
        if lost or there.n > len(self.subject.y) or now != then:
            beyond = f" ({first_few(lost, 3)} would be lost)" if lost else ""
            raise UserError(
                f"{self.path} holds n = {there.n}, {then}{beyond}; n = {len(self.subject.y)}, {now} would replace it: add "
                "--replace, or look at a copy of the weights elsewhere"
            )

    @staticmethod
    def _words(data: str, split: str, threat: Threat, teacher: WeightsFile | None) -> str:
        return f"{data} {split}, {threat.words}" + (f", teacher {str(teacher.sha256)[:8]}" if teacher else "")


def together(there: Diagnosis, new: Diagnosis) -> Diagnosis:
    """One diagnosis of both, in which new results take the place of earlier ones of their name."""
    results = {result.name: result for result in (*there.results, *new.results)}
    skipped = {skipped.name: skipped for skipped in (*there.skipped, *new.skipped) if skipped.name not in results}
    return replace(
        new,
        teacher=new.teacher or there.teacher,
        results=tuple(results.values()),
        skipped=tuple(skipped.values()),
        seconds=round(there.seconds + new.seconds, 2),
    )


def earlier_levels(path: Path, there: Diagnosis, new: Diagnosis) -> dict[str, Tensor]:
    """The pictures beside the diagnosis at `path` that belong to results of `there` which stay; none from a damaged file."""
    stay = {result.name for result in there.results} - {result.name for result in new.results}
    try:
        levels = load(read_bytes(pictures_of(path)))
    except (SafetensorError, ValueError, OSError):
        return {}
    return {name: picture for name, picture in levels.items() if name.partition("/")[0] in stay}
