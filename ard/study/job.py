"""One run of a study: train and evaluate in processes of its own, unless that was done before."""

import shlex
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ard.artifacts.class_paths import is_ours
from ard.artifacts.paths import LAST, RunFolder, StudyFolder
from ard.artifacts.record import Record, read_record, readable_record, write_record
from ard.artifacts.run_name import RunName, write_run_name
from ard.core.errors import UserError
from ard.core.locks import alone
from ard.study.devices import Devices
from ard.study.display import Display
from ard.study.plan import Study, StudyRun
from ard.study.processes import Processes
from ard.training.config_digest import config_digest


@dataclass(frozen=True)
class Job:
    """Trains and evaluates one run in processes of its own, unless a matching record exists."""

    study: Study
    run: StudyRun
    resolved: dict[str, Any]
    display: Display
    processes: Processes
    devices: Devices
    students: Sequence["Job"] = ()  # the runs that need this run's weights

    def execute(self, teachers: Sequence[Future[str | None]]) -> str | None:
        """An empty string where all went well, else the reason in one line."""
        if any(teacher.result() for teacher in teachers):
            return "its teacher failed"
        if self.finished and (self.run.weights.is_file() or all(student.finished for student in self.students)):
            self.display.skipped(self.run.name)
        else:
            try:
                self._begin()
            except UserError as error:
                return str(error)
            with self.display.running(self.run.name, self.run.directory, self.resolved):
                reason = self._train() or self._evaluate()
            if reason is not None:
                return reason
        if self.study.results:
            _copy(self.run.folder, StudyFolder(Path(self.study.results)).run(self.run.name))
        return None

    @property
    def digest(self) -> str:
        """Of the config and the teachers as they are now, by their records: these outlive the weights."""
        records = {str(run.weights): finished_record(run.folder.records[0]) for run in self.run.teachers.values()}
        known = {path: record.weights.sha256 for path, record in records.items() if record and record.weights.sha256}
        return config_digest(self.resolved, known)

    def _train(self) -> str | None:
        resume = ["--resume=auto"] if self.run.folder.checkpoints else []
        return self._process([*self.run.arguments, *resume, "--trainer.enable_progress_bar=false"])

    def _evaluate(self) -> str | None:
        asked = {**self.study.evaluate, "replace": True}  # the study's file decides what its table compares
        options = [f"--{key}={value}" for key, value in asked.items()]
        if not is_ours(self.resolved["model"]["init_args"]["student"]):
            options.append(f"--network={self.run.folder.config}")
        files = [str(self.run.weights), str(self.run.folder.weights(LAST))]
        return self._process(["evaluate", *files, *options], accept=(0, 3, 4))

    def _process(self, arguments: list[str], accept: Sequence[int] = (0,)) -> str | None:
        with self.devices.place() as place:
            with open(self.run.folder.log, "a", encoding="utf-8") as file:
                file.write(f"$ {shlex.join(['ard', *arguments])}\n")
            status = self.processes.run(arguments, self.run.folder.log, place)
        if status in accept:
            return None
        last = [line for line in log_lines(self.run.folder) if line.strip()][-1:]
        return f"ard {arguments[0]} ended with status {status}: {''.join(last).strip()} (see {self.run.folder.log})"

    @property
    def finished(self) -> bool:
        """Whether a matching record is here, or among the published results, from where it is copied here."""
        digest = self.digest
        if all(self._matches(record, digest) for record in self.run.folder.records):
            return True
        published = StudyFolder(Path(self.study.results or "")).run(self.run.name)
        if not self.study.results or not all(self._matches(record, digest) for record in published.records):
            return False
        return _copy(published, self.run.folder)

    def _matches(self, path: Path, digest: str) -> bool:
        record = finished_record(path)
        if record is None or record.training is None:
            return False
        return record.training.config_digest == digest and self.study.request.answered_by(record)

    def _begin(self) -> None:
        """Continue an unfinished run of the same config and teachers; delete any other run of a study, once it has ended."""
        mark, digest = self.run.folder.begun, self.digest
        if not mark.is_file() and self.run.folder.checkpoints:
            raise UserError(f"{self.run.directory} holds a run that no study began: move it away, or name another directory")
        if self.run.directory.exists() and (not mark.is_file() or mark.read_text(encoding="utf-8") != digest):
            with alone(self.run.directory):
                shutil.rmtree(self.run.directory)
        self.run.directory.mkdir(parents=True, exist_ok=True)
        mark.write_text(digest, encoding="utf-8")
        run = self.run
        name = RunName(study=run.study, method=run.method, role=run.role, swept=run.swept, config_digest=digest)
        write_run_name(run.folder, name)


def finished_record(path: Path) -> Record | None:
    """None where there is no record, or not a whole one of a run."""
    record = readable_record(path)
    return record if record is not None and record.training is not None else None


def _copy(source: RunFolder, destination: RunFolder) -> bool:
    """Records and configuration, through their one reader and writer."""
    destination.root.mkdir(parents=True, exist_ok=True)
    for record, copied in zip(source.records, destination.records, strict=True):
        write_record(copied, read_record(record))
    shutil.copy(source.config, destination.config)
    return True


def log_lines(folder: RunFolder) -> list[str]:
    """What the run's processes printed."""
    return folder.log.read_text(encoding="utf-8", errors="replace").splitlines()
