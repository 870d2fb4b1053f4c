"""One run of a study, as it is planned."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ard.artifacts.paths import RunFolder, StudyFolder

Outcome = str | None  # of a run: None where all went well, else the reason in one line


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """A run: its directory below the study's, its configs, and the teachers it waits for, by their config's place.

    `fold` has the key and the number of the fold that is for test, `swept` those of the setting in which it differs from the
    other runs of its method.
    `student` is a teacher's network, `network` the class of one that is not ours; commands that read its weights need it.
    `trials` are the runs of which the best says with what settings this one runs; `tried` has a trial's own, which nobody
    evaluates.
    """

    name: str
    study: str
    method: str
    role: Literal["student", "teacher"] = "student"
    fold: dict[str, int] = field(default_factory=dict)
    swept: dict[str, float] = field(default_factory=dict)
    directory: Path
    configs: tuple[str, ...]
    overrides: dict[str, Any]
    seed: int
    teachers: dict[str, "StudyRun"] = field(default_factory=dict)
    student: dict[str, Any] | None = None
    network: dict[str, Any] | None = None
    trials: tuple["StudyRun", ...] = ()
    tried: dict[str, float] = field(default_factory=dict)

    @property
    def folder(self) -> RunFolder:
        """Its files."""
        return RunFolder(self.directory)

    def places(self, results: str | None) -> list[RunFolder]:
        """Where its records may be: its own folder, and the one that they are copied to where the study has `results`."""
        return [self.folder, *([StudyFolder(Path(results)).run(self.name)] if results else [])]

    @property
    def weights(self) -> Path:
        """The selected student."""
        return self.folder.weights()

    @cached_property
    def arguments(self) -> list[str]:
        """Of `ard fit`; printed in the log, so that a run can be repeated by hand."""
        own = {"seed_everything": self.seed, "trainer.default_root_dir": self.directory}
        options = {**own, **self.overrides, **self.fold}
        for place, teacher in self.teachers.items():
            short = f"model.{place}".replace(".init_args", "")
            options[f"{short}.weights"] = teacher.weights
            if teacher.network is not None:
                options[f"{short}.network"] = teacher.network
        configs = [part for config in self.configs for part in ("-c", config)]
        return ["fit", *configs, *(f"--{key}={_text(value)}" for key, value in options.items())]


def _text(value: Any) -> str:
    """On a command line; a whole number as one, since what it is for may take no other."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value) if isinstance(value, list | dict | bool) or value is None else str(value)
