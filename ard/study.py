"""`ard study`: teachers, then recipes × seeds, each run its own process; evaluation; comparison. Resumable."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ard.errors import UserError
from ard.run.files import config_digest
from ard.study_display import Display

Rehearse = Callable[[list[str]], dict[str, Any]]  # arguments of `ard fit` -> the resolved config; trains nothing
RECORDS = ("evaluation.json", "last.evaluation.json")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study's file. `teachers` and `recipes` name configs; `overrides` set keys of one recipe (or teacher).

    With `results`, finished records are copied there, and a run whose record lies there already is not trained again.
    """

    base: str
    recipes: Sequence[str]
    teachers: dict[str, str] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    jobs: int = 1
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    results: str | None = None
    baseline: str | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run: its directory below the study's, its configs, and the teacher it waits for."""

    name: str
    directory: Path
    configs: tuple[str, ...]
    overrides: dict[str, Any]
    seed: int
    teacher: "Run | None" = None

    @property
    def weights(self) -> Path:
        """The selected student."""
        return self.directory / "student.safetensors"

    @cached_property
    def arguments(self) -> list[str]:
        """Of `ard fit`; printed in the log, so that a run can be repeated by hand."""
        options = {"seed_everything": self.seed, "trainer.default_root_dir": self.directory, **self.overrides}
        if self.teacher is not None:
            options["model.init_args.teacher.init_args.weights"] = self.teacher.weights
        configs = [part for config in self.configs for part in ("-c", config)]
        return ["fit", *configs, *(f"--{key}={_text(value)}" for key, value in options.items())]


def read_study(path: Path) -> Study:
    """The study in a YAML file; raises UserError for unknown keys, missing keys and missing configs."""
    if not path.is_file():
        raise UserError(f"{path}: no such study; expected a file such as configs/studies/digits.yaml")
    content = yaml.safe_load(path.read_text())
    known = [f.name for f in fields(Study)]
    for key in content if isinstance(content, dict) else [f"{path} itself"]:
        if key not in known:
            near = get_close_matches(str(key), known, n=1) or known
            raise UserError(f"{path}: unknown key {key!r}; did you mean {near[0]!r}?")
    missing = {"base", "recipes"} - set(content)
    if missing:
        raise UserError(f"{path}: missing {', '.join(sorted(missing))}")
    return Study(**content)


def plan(study: Study, directory: Path) -> list[Run]:
    """All runs, teachers first and those that wait for a teacher last."""
    teachers = [
        Run(
            name=f"teachers/{name}",
            directory=directory / "teachers" / name,
            configs=(study.base, config),
            overrides=study.overrides.get(name, {}),
            seed=0,
        )
        for name, config in study.teachers.items()
    ]
    runs = [run for seed in study.seeds for recipe in study.recipes for run in _runs(study, directory, recipe, seed, teachers)]
    return teachers + sorted(runs, key=lambda run: run.teacher is not None)


def _runs(study: Study, directory: Path, recipe: str, seed: int, teachers: list[Run]) -> list[Run]:
    """One run of a recipe without a teacher, else one for each teacher of the study."""
    config = recipe if recipe.endswith(".yaml") else f"configs/objectives/{recipe}.yaml"
    if not Path(config).is_file():
        raise UserError(f"recipe {recipe!r}: no file {config}")
    name = Path(config).stem
    distils = "teacher" in yaml.safe_load(Path(config).read_text())["model"]["init_args"]
    if distils and not teachers:
        raise UserError(f"recipe {recipe!r} distils, but the study names no `teachers:`")
    chosen: list[Run | None] = [*teachers] if distils else [None]
    runs = []
    for teacher in chosen:
        label = f"{name}-{teacher.directory.name}" if teacher and len(chosen) > 1 else name
        runs.append(
            Run(
                name=f"{label}/seed{seed}",
                directory=directory / label / f"seed{seed}",
                configs=(study.base, config),
                overrides=study.overrides.get(name, {}),
                seed=seed,
                teacher=teacher,
            )
        )
    return runs


def run_study(path: Path, rehearse: Rehearse, compare: Callable[..., str]) -> int:
    """Run what is not finished, compare everything, and return 1 only where a run failed."""
    study = read_study(path)
    directory = Path("checkpoints") / path.stem
    runs = plan(study, directory)
    resolved = {run.name: rehearse(run.arguments) for run in runs}  # every mistake comes before the first training
    with Display(len(runs)) as display, ThreadPoolExecutor(study.jobs) as pool:
        futures: dict[str, Future[str | None]] = {}
        for run in runs:
            job = Job(study, run, resolved[run.name], display, futures.get(run.teacher.name) if run.teacher else None)
            futures[run.name] = pool.submit(job.execute)
        try:
            failures = {name: reason for name, future in futures.items() if (reason := future.result())}
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    output = Path(study.results) if study.results else directory
    print(compare([directory], output, baseline=study.baseline))
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return 1 if failures else 0


@dataclass(frozen=True)
class Job:
    """Trains and evaluates one run in processes of its own, unless a matching record exists."""

    study: Study
    run: Run
    resolved: dict[str, Any]
    display: Display
    teacher: Future[str | None] | None

    def execute(self) -> str | None:
        """Nothing where all went well, else the reason in one line."""
        if self.teacher is not None and self.teacher.result():
            return "its teacher failed"
        digest = config_digest(self.resolved)
        if self._finished(digest):
            self.display.skipped(self.run.name)
            return None
        self._clear_stale(digest)
        with self.display.running(self.run.name, self.run.directory, self.resolved):
            reason = self._train() or self._evaluate()
        if reason is None and self.study.results:
            self._publish(Path(self.study.results))
        return reason

    def _train(self) -> str | None:
        resume = ["--ckpt_path=last"] if (self.run.directory / "last.ckpt").exists() else []
        return self._process([*self.run.arguments, *resume, "--trainer.enable_progress_bar=false"])

    def _evaluate(self) -> str | None:
        options = [f"--{key}={value}" for key, value in self.study.evaluate.items()]
        files = [str(self.run.weights), str(self.run.directory / "last.safetensors")]
        return self._process(["evaluate", *files, *options], accept=(0, 3, 4))

    def _process(self, arguments: list[str], accept: Sequence[int] = (0,)) -> str | None:
        self.run.directory.mkdir(parents=True, exist_ok=True)
        threads = str(max(1, (os.cpu_count() or 1) // self.study.jobs))
        with open(self.run.directory / "log.txt", "a") as log:
            log.write(f"$ ard {' '.join(arguments)}\n")
            log.flush()
            command = [sys.executable, "-m", "ard", *arguments]
            environment = {**os.environ, "OMP_NUM_THREADS": threads}
            status = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment).returncode
        if status in accept:
            return None
        last = [line for line in log_lines(self.run.directory) if line.strip()][-1:]
        return f"ard {arguments[0]} ended with status {status}: {''.join(last).strip()} (see {self.run.directory}/log.txt)"

    def _finished(self, digest: str) -> bool:
        """A matching record here, or among the published results, whence it is brought here."""
        if all(self._matches(self.run.directory / name, digest) for name in RECORDS):
            return True
        published = Path(self.study.results or "") / self.run.name
        if not self.study.results or not all(self._matches(published / name, digest) for name in RECORDS):
            return False
        return _copy(published, self.run.directory)

    def _matches(self, path: Path, digest: str) -> bool:
        if not path.is_file():
            return False
        record = json.loads(path.read_text())
        wanted = {"suite": "quick", "limit": None, **self.study.evaluate}
        return record["training"]["config_digest"] == digest and all(record[key] == wanted[key] for key in ("suite", "limit"))

    def _clear_stale(self, digest: str) -> None:
        config = self.run.directory / "config.yaml"
        if config.is_file() and config_digest(yaml.safe_load(config.read_text())) != digest:
            shutil.rmtree(self.run.directory)

    def _publish(self, results: Path) -> None:
        _copy(self.run.directory, results / self.run.name)


def _copy(source: Path, destination: Path) -> bool:
    destination.mkdir(parents=True, exist_ok=True)
    for name in (*RECORDS, "config.yaml"):
        shutil.copy(source / name, destination / name)
    return True


def log_lines(directory: Path) -> list[str]:
    """What the run's processes printed."""
    return (directory / "log.txt").read_text(errors="replace").splitlines()


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict | bool) or value is None else str(value)
