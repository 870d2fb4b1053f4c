"""One run of a study: train and evaluate in processes of its own, unless that was done before."""

import json
import shlex
import shutil
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ard.core.errors import UserError
from ard.core.locks import alone
from ard.study.devices import Devices
from ard.study.display import Display
from ard.study.plan import Study, StudyRun
from ard.study.processes import Processes
from ard.training.config_digest import config_digest

RECORDS = ("evaluation.json", "last.evaluation.json")


@dataclass(frozen=True)
class Job:
    """Trains and evaluates one run in processes of its own, unless a matching record exists."""

    study: Study
    run: StudyRun
    resolved: dict[str, Any]
    display: Display
    processes: Processes
    devices: Devices
    students: Sequence["Job"] = ()  # who need this run's weights

    def execute(self, teachers: Sequence[Future[str | None]]) -> str | None:
        """Nothing where all went well, else the reason in one line."""
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
            _copy(self.run.directory, Path(self.study.results) / self.run.name)
        return None

    @property
    def digest(self) -> str:
        """Of the config and the teachers as they are now, by their records: these outlive the weights."""
        records = {str(run.weights): finished_record(run.directory / RECORDS[0]) for run in self.run.teachers.values()}
        return config_digest(
            self.resolved, {path: record["weights"]["sha256"] for path, record in records.items() if record}
        )

    def _train(self) -> str | None:
        resume = ["--resume=auto"] if any(self.run.directory.glob("*.ckpt")) else []
        return self._process([*self.run.arguments, *resume, "--trainer.enable_progress_bar=false"])

    def _evaluate(self) -> str | None:
        asked = {**self.study.evaluate, "replace": True}  # the study's file decides what its table compares
        options = [f"--{key}={value}" for key, value in asked.items()]
        files = [str(self.run.weights), str(self.run.directory / "last.safetensors")]
        return self._process(["evaluate", *files, *options], accept=(0, 3, 4))

    def _process(self, arguments: list[str], accept: Sequence[int] = (0,)) -> str | None:
        log = self.run.directory / "log.txt"
        with self.devices.place() as place:
            with open(log, "a") as file:
                file.write(f"$ {shlex.join(['ard', *arguments])}\n")
            status = self.processes.run(arguments, log, place)
        if status in accept:
            return None
        last = [line for line in log_lines(self.run.directory) if line.strip()][-1:]
        return f"ard {arguments[0]} ended with status {status}: {''.join(last).strip()} (see {self.run.directory}/log.txt)"

    @property
    def finished(self) -> bool:
        """A matching record lies here, or among the published results, whence it is brought here."""
        digest = self.digest
        if all(self._matches(self.run.directory / name, digest) for name in RECORDS):
            return True
        published = Path(self.study.results or "") / self.run.name
        if not self.study.results or not all(self._matches(published / name, digest) for name in RECORDS):
            return False
        return _copy(published, self.run.directory)

    def _matches(self, path: Path, digest: str) -> bool:
        record = finished_record(path)
        return (
            record is not None and record["training"]["config_digest"] == digest and self.study.request.answered_by(record)
        )

    def _begin(self) -> None:
        """An unfinished run of the same config and teacher goes on; another one of a study makes room, once it has ended."""
        mark, digest = self.run.directory / "digest.txt", self.digest
        if not mark.is_file() and any(self.run.directory.glob("*.ckpt")):
            raise UserError(f"{self.run.directory} holds a run that no study began: move it away, or name another directory")
        if self.run.directory.exists() and (not mark.is_file() or mark.read_text() != digest):
            with alone(self.run.directory):
                shutil.rmtree(self.run.directory)
        self.run.directory.mkdir(parents=True, exist_ok=True)
        mark.write_text(digest)


def finished_record(path: Path) -> dict[str, Any] | None:
    """None where there is no record, or not a whole one of a run."""
    try:
        record = dict(json.loads(path.read_text()))
        whole = all(isinstance(text, str) for text in (record["weights"]["sha256"], record["training"]["config_digest"]))
        return record if whole else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _copy(source: Path, destination: Path) -> bool:
    destination.mkdir(parents=True, exist_ok=True)
    for name in (*RECORDS, "config.yaml"):
        shutil.copy(source / name, destination / name)
    return True


def log_lines(directory: Path) -> list[str]:
    """What the run's processes printed."""
    return (directory / "log.txt").read_text(errors="replace").splitlines()
