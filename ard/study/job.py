"""One run of a study: train and evaluate in processes of its own, unless that was done before."""

import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ard.artifacts.class_paths import is_ours
from ard.artifacts.facts import said, teacher_files
from ard.artifacts.paths import LAST, RunFolder, StudyFolder, weights_file
from ard.artifacts.record import Record
from ard.artifacts.record_file import read_record, readable_record, write_record
from ard.artifacts.run_name import RunName, write_run_name
from ard.core.errors import UserError
from ard.core.files import discard, no_link, or_user_error, sha256, write_whole
from ard.core.locks import LOCK, alone
from ard.evaluation.request import Request
from ard.study.devices import Devices
from ard.study.display import Display
from ard.study.processes import GRACE, Processes
from ard.study.resolving import value_at, with_value
from ard.study.study_file import Study
from ard.study.study_run import Outcome, StudyRun
from ard.study.tuning import Tuning, validation_accuracy, was_stopped
from ard.training.callbacks.outcome import NO_EPOCH_SELECTED
from ard.training.config_digest import config_digest

PATIENCE = GRACE + 30  # seconds that a run of a study that was killed is waited for


@dataclass(frozen=True)
class Job:
    """Trains and evaluates one run in processes of its own, unless a matching record exists."""

    study: Study
    run: StudyRun
    resolved: dict[str, Any]
    display: Display
    processes: Processes
    devices: Devices
    tuning: Tuning
    trials: Sequence["Job"] = ()  # the runs of which the best says with what settings this one runs
    students: Sequence["Job"] = ()  # the runs that need this run's weights

    def execute(self, ended: Mapping[str, Outcome]) -> Outcome:
        """Run it, where the runs that it waits for have ended well."""
        if any(ended[teacher.name] for teacher in self.run.teachers.values()):
            return "its teacher failed"
        if any(ended[trial.name] for trial in self.run.trials):
            return "a trial of its settings failed"
        if self.trials and not any(trial.accuracy for trial in self.trials):
            self.display.untuned(self.run.name)
        try:
            return self._train_trial() if self.run.tried else self._tuned()._train_and_evaluate()
        except UserError as error:
            return str(error)

    def _tuned(self) -> "Job":
        """With the setting of the best trial, the first of equals, once they have ended."""
        if not self.trials:
            return self
        best = max(self.trials, key=lambda trial: trial.accuracy or 0.0)
        run, resolved = replace(self.run, overrides={**self.run.overrides, **best.run.tried}), self.resolved
        for key in best.run.tried:  # not resolved anew: the parser changes the current folder, which threads share
            resolved = with_value(resolved, key.split("."), value_at(best.resolved, key.split(".")))
        return replace(self, run=run, resolved=resolved, trials=())

    @property
    def accuracy(self) -> float | None:
        """What this run, a trial, came to on validation images; None where it has yet to run."""
        return self.tuning.accuracy(self.run.name, self.digest)

    def _train_trial(self) -> Outcome:
        """Train a trial; its accuracy on validation images is all that is wanted of it."""
        with alone(self.run.directory, PATIENCE):  # as below
            done = self.finished
            if not done:
                self._begin()
        if done:
            self.display.skipped(self.run.name)
            return None
        with self.display.running(self.run.name, self.run.directory, self.resolved):
            reason = self._train(accept=(0, NO_EPOCH_SELECTED))
        if reason is not None and not was_stopped(self.run.folder):
            return reason
        monitor = self.resolved["model"]["init_args"]["training"]["monitor"]
        reached = 0.0 if reason else validation_accuracy(self.run.folder, monitor)  # a run that a guard ended
        self.tuning.add(self.run.name, self.digest, self.run.tried, reached)
        return None

    def _train_and_evaluate(self) -> Outcome:
        with alone(self.run.directory, PATIENCE):  # before anything is read or written; `ard fit` holds it itself
            if self._is_of_another():
                self._move_aside()
            done = self.finished and (all(student.finished for student in self.students) or self._has_its_weights)
            if not done:
                self._begin()
            elif not self._was_done_here:
                self._copy_published()
        if done:
            self.display.skipped(self.run.name)
        else:
            with self.display.running(self.run.name, self.run.directory, self.resolved):
                reason = self._train() or self._evaluate()
            if reason is not None:
                return reason
        if self.study.results and self._was_done_here:
            _copy(self.run.folder, self.run.places(self.study.results)[-1])
        return None

    def _copy_published(self) -> None:
        """For the table and its pages. Without the mark of a run that began here, so that none of it counts as one."""
        self._check_was_begun()
        if self.run.folder.begun.is_file():
            self._move_aside()  # as its weights, if any, are not those of the record
        _copy(self.run.places(self.study.results)[-1], self.run.folder)

    @property
    def digest(self) -> str:
        """Of the config and the teachers as they are now, by their records, here or published: these outlive the weights."""
        return config_digest(self.resolved, self._known_teachers())

    def _known_teachers(self) -> dict[str, str]:
        known: dict[str, str | None] = {}
        for teacher in self.run.teachers.values():
            records = [finished_record(folder.records[0]) for folder in teacher.places(self.study.results)]
            known |= {str(teacher.weights): record.weights.sha256 for record in reversed(records) if record}
        return {path: sha256 for path, sha256 in known.items() if sha256}

    def _digest_as_in(self, record: Record) -> str:
        """The same, with the record's teacher for a given one that is not on this machine, and so could teach nobody."""
        given = teacher_files(self.resolved["model"]["init_args"], record.run.teachers) if record.run else ()
        lost = {path: sha256 for path, sha256 in given if not os.path.isfile(weights_file(path))}
        return config_digest(self.resolved, lost | self._known_teachers())

    def _train(self, accept: Sequence[int] = (0,)) -> Outcome:
        resume = ["--resume=auto"] if self.run.folder.checkpoints else []
        return self._process([*self.run.arguments, *resume, "--trainer.enable_progress_bar=false"], accept=accept)

    def _evaluate(self) -> Outcome:
        asked = {**self.study.evaluate, "replace": True}  # the study's file decides what its table compares
        options = [f"--{key}={value}" for key, value in asked.items() if value not in (None, "")]
        if not is_ours(self.resolved["model"]["init_args"]["student"]):
            options.append(f"--network={self.run.folder.config}")
        files = [str(self.run.weights), str(self.run.folder.weights(LAST))]
        return self._process(["evaluate", *files, *options], accept=(0, 3, 4))

    def _process(self, arguments: list[str], accept: Sequence[int] = (0,)) -> Outcome:
        log = self.run.folder.log
        with self.devices.place() as place:
            with or_user_error(log), open(log, "a", encoding="utf-8", opener=no_link) as file:
                file.write(f"$ {shlex.join(['ard', *arguments])}\n")
            begun = log.stat().st_size
            status = self.processes.run(arguments, log, place)
        if status in accept:
            return None
        reason = ([line for line in _log_lines(self.run.folder, begun) if line.strip()] or ["it printed nothing"])[-1]
        return f"ard {arguments[0]} ended with status {status}: {reason.strip()} (see {log})"

    @property
    def finished(self) -> bool:
        """Whether a matching record is here, or among the published results."""
        if self.run.tried:
            return self.accuracy is not None
        if self.trials:
            return all(trial.finished for trial in self.trials) and self._tuned().finished
        return self._was_done_here or any(map(self._is_in, self.run.places(self.study.results)[1:]))

    @property
    def _was_done_here(self) -> bool:
        """Whether its own folder has its records, and not by a copy of published ones."""
        return self.run.folder.begun.is_file() and self._is_in(self.run.folder)

    @property
    def _has_its_weights(self) -> bool:
        """Whether the weights in its folder are those of its record there: students may learn from them."""
        record = finished_record(self.run.folder.records[0]) if self._was_done_here else None
        return record is not None and self.run.weights.is_file() and sha256(self.run.weights) == record.weights.sha256

    def _is_in(self, folder: RunFolder) -> bool:
        """Whether all files of this run are in a folder, and of the config and teachers as they are now."""
        records = [finished_record(path) for path in folder.records]
        return folder.config.is_file() and all(
            record is not None
            and record.training is not None
            and record.training.config_digest == self._digest_as_in(record)
            and self._asked.answered_by(record)
            for record in records
        )

    @property
    def _asked(self) -> Request:
        """What its evaluation is asked for: norm and radius are those of its training where the study names none."""
        threat, asked = self.resolved["model"]["init_args"].get("threat") or {}, self.study.request
        package, _, norm = threat.get("class_path", "").rpartition(".")
        if package != "ard.attacks":
            return asked
        return replace(asked, norm=asked.norm or norm, eps=asked.eps or str(said(threat, ["eps"])["eps"]))

    def _begin(self) -> None:
        """Continue an unfinished run of the same config and teachers; move any other run of a study aside."""
        self._check_was_begun()
        mark, digest = self.run.folder.begun, self.digest
        if not mark.is_file() or self._is_of_another():
            self._move_aside()
        write_whole(mark, digest)
        run = self.run
        name = RunName(study=run.study, method=run.method, role=run.role, swept=run.swept, config_digest=digest)
        write_run_name(run.folder, name)

    def _check_was_begun(self) -> None:
        if not self.run.folder.begun.is_file() and self.run.folder.checkpoints:
            raise UserError(f"{self.run.directory} holds a run that no study began: move it away, or name another directory")

    def _is_of_another(self) -> bool:
        """Whether the folder holds what was begun with another config or other teachers, or was changed by hand since."""
        mark = self.run.folder.begun
        if not mark.is_file():
            return False
        found = [record for path in self.run.folder.records if (record := finished_record(path)) is not None]
        changed = any(record.training.resumed_with for record in found if record.training)
        known = {self.digest, *map(self._digest_as_in, found)}
        return changed or mark.read_bytes() not in {digest.encode() for digest in known}

    def _move_aside(self) -> None:
        """What a marker says is not enough to delete a run; the folder is new and empty afterwards."""
        directory, name = self.run.directory, Path(self.run.name)
        if {file.name for file in directory.iterdir()} <= {LOCK}:
            return
        aside = StudyFolder(directory.parents[len(name.parts) - 1]).aside(self.run.name)
        with or_user_error(aside):
            aside.parent.mkdir(parents=True, exist_ok=True)
            directory.rename(aside)
            directory.mkdir()
        discard(aside / LOCK)
        self.display.moved(self.run.name, aside)


def finished_record(path: Path) -> Record | None:
    """None where there is no record, or not a whole one of a run."""
    record = readable_record(path)
    return record if record is not None and record.training is not None else None


def _copy(source: RunFolder, destination: RunFolder) -> None:
    """Records and configuration, through their one reader and writer."""
    with or_user_error(destination.root):
        destination.root.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.config, destination.config)  # before the records, which say that the run is there
        for record, copied in zip(source.records, destination.records, strict=True):
            write_record(copied, read_record(record))


def _log_lines(folder: RunFolder, begun: int) -> list[str]:
    """What the run's processes printed, from the byte where one of them began."""
    with open(folder.log, "rb") as file:
        file.seek(begun)
        return file.read().decode("utf-8", errors="replace").splitlines()
