"""`ard study`: plan, check every run before the first, run what is not finished, compare."""

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ard.artifacts.paths import records_below
from ard.artifacts.record_file import readable_record
from ard.configs.building import build
from ard.configs.catalogue import root
from ard.core.cores import usable_cores
from ard.core.errors import UserError
from ard.core.locks import alone
from ard.core.terminal import say
from ard.core.text import first_few
from ard.evaluation.rehearsed import FOLDER, MARK
from ard.models.frozen import Frozen
from ard.study.costs import costs, costs_line, costs_table, counted, repeated
from ard.study.devices import Devices
from ard.study.display import Display
from ard.study.job import Job
from ard.study.order import all_in_order
from ard.study.plan import plan
from ard.study.processes import Processes
from ard.study.rehearsal import forget_weights, once, rehearsal_of
from ard.study.resolving import Resolver
from ard.study.study_file import Study, read_study
from ard.study.study_run import StudyRun
from ard.study.tuning import Tuning, check_tuned
from ard.training.callbacks.signals import STATUS

MOST_REHEARSED = 8  # runs at a time
MANY = 100  # runs, of which checking the configs takes long enough to be told
STUDY = "another study is running here ({holder}); expected one at a time: wait for it, or give this one's file another name"
Resolve = Callable[[list[str]], dict[str, Any]]  # arguments of `ard fit` -> the resolved config; trains nothing


@dataclass(frozen=True, kw_only=True)
class Places:
    """How many runs at a time, and where: see Devices."""

    jobs_per_device: int | None = None
    devices: int | None = None


def run_study(path: Path, resolve: Resolve, compare: Callable[..., str], places: Places = Places()) -> tuple[int, str]:
    """Run what is not finished and compare everything; returns 1 only where a run failed, and the table.

    `path` is the study's file, as `find` gives it; runs, records and the table are in checkpoints/<study>.
    """
    _end_with_signals()
    directory = Path("checkpoints") / path.stem
    study = _without_the_repositorys_results(read_study(path), path, directory)
    with alone(directory, refusal=STUDY):
        if (directory / MARK).is_file():
            raise UserError(f"{directory} is a rehearsal, which the next one deletes; expected another name for {path}")
        planned = _plan(study, directory, resolve)
        _check_results_are_its_own(planned)
        if missing := _missing(planned):
            _check_given_teachers(missing, planned)
            say(costs_line(costs(missing, planned.resolved)))
            _say_what_may_run_again(planned, missing)
        failures = _finish(planned, places)
        return int(bool(failures)), _tables(planned, failures, compare)


def rehearse_study(path: Path, resolve: Resolve, compare: Callable[..., str], places: Places = Places()) -> tuple[int, str]:
    """The whole study at a toy size in checkpoints/<study>-rehearsal; the table says what the real one costs, too.

    Nothing that belongs to the real study is read or written. Returns 1 where a run failed.
    """
    _end_with_signals()
    study, directory = read_study(path), Path("checkpoints") / path.stem
    own = directory.with_name(directory.name + FOLDER)
    with alone(own, refusal=STUDY):
        rehearsal = rehearsal_of(study, own)
        for line in rehearsal.instead:
            say(f"rehearsal: {line}")
        planned = _plan(replace(rehearsal.study, jobs=min(MOST_REHEARSED, usable_cores())), own, resolve)
        failures = _finish(planned, places)
        real = _real_costs(study, directory, planned, resolve)
        table = _tables(planned, failures, compare)
        forget_weights(own)
    return int(bool(failures)), f"{table}\n\n{real}"


def _real_costs(study: Study, directory: Path, rehearsed: "Planned", resolve: Resolve) -> str:
    """In words and a table, from what the rehearsal counted; one seed and fold is planned, and its cost multiplied."""
    try:
        planned = _plan(once(study), directory, resolve)
    except UserError as error:
        rows = counted(costs(rehearsed.runs, rehearsed.resolved), rehearsed.runs, images=None)
        return f"The real study cannot be planned yet: {error}\n\n{costs_table(repeated(rows, study))}"
    rows = counted(costs(planned.runs, planned.resolved), rehearsed.runs)
    return f"What the real study costs if nothing of it is finished:\n\n{costs_table(repeated(rows, study))}"


@dataclass(frozen=True)
class Planned:
    """A study's runs and the config of each, by its name: every mistake comes before the first training."""

    study: Study
    directory: Path
    runs: list[StudyRun]
    resolved: dict[str, dict[str, Any]]


def _plan(study: Study, directory: Path, resolve: Resolve) -> Planned:
    resolved = Resolver(resolve)
    runs = plan(study, directory, resolved)
    if len(runs) > MANY:
        say(f"checking {len(runs)} runs before the first starts")
    planned = Planned(study, directory, runs, {run.name: resolved(run) for run in runs})
    check_tuned(runs, planned.resolved)
    return planned


def _tuning(planned: Planned) -> Tuning:
    """The trials that ended before, here or where the study publishes."""
    return Tuning([planned.directory, *([Path(planned.study.results)] if planned.study.results else [])])


def _missing(planned: Planned) -> list[StudyRun]:
    """What has to run: that of which nothing is there yet, its trials, and its teachers where their weights are gone.

    Whether the others are of this config is seen later.
    """
    missing = {run.name: run for run in planned.runs if not run.tried and not _has_records(run, planned.study)}
    teachers = [teacher for run in missing.values() for teacher in run.teachers.values()]
    lost = {teacher.name: teacher for teacher in teachers if not teacher.weights.is_file()}
    trials = {trial.name: trial for run in (missing | lost).values() for trial in run.trials}
    tuning = _tuning(planned)
    return [*(trial for name, trial in trials.items() if not tuning.has(name)), *(lost | missing).values()]


def _has_records(run: StudyRun, study: Study) -> bool:
    """Whether it was evaluated, here or where the study publishes."""
    return any(folder.records[0].is_file() for folder in run.places(study.results))


def _check_results_are_its_own(planned: Planned) -> None:
    """Raises UserError where the folder of the study's results has records of another study."""
    for run in planned.runs if planned.study.results else ():
        path = run.places(planned.study.results)[-1].records[0]
        record = readable_record(path)
        if record is not None and record.run is not None and record.run.study not in (None, run.study):
            raise UserError(
                f"{path} is of the study {record.run.study!r}, and this one is {run.study!r}: expected a `results` folder "
                "of its own, or the name that the study had"
            )


def _say_what_may_run_again(planned: Planned, missing: Sequence[StudyRun]) -> None:
    """Of what learned from a teacher that is trained once more, since its weights are gone and others want to learn."""
    names = {run.name for run in missing}
    again = [run for run in planned.runs if run.name not in names and names & {one.name for one in run.teachers.values()}]
    finished = [run.name for run in again if not run.tried and _has_records(run, planned.study)]
    if finished:
        say(
            f"the teachers of {len(finished)} finished runs are trained again, for others, as their weights are not here; "
            f"where they come out otherwise, as on another kind of machine, these, too: {first_few(finished)}"
        )


def _check_given_teachers(missing: Sequence[StudyRun], planned: Planned) -> None:
    """Raises UserError where a teacher that no run of the study trains is not there; rows without one would train before."""
    alone = [planned.resolved[run.name]["model"]["init_args"].get("teacher") for run in missing if not run.teachers]
    for section in {json.dumps(teacher) for teacher in alone if teacher}:
        build(Frozen, json.loads(section)).check_there()


def _finish(planned: Planned, places: Places) -> dict[str, str]:
    """Run what is not finished; why runs failed, by their name."""
    study, runs = planned.study, planned.runs
    processes, shared = Processes(), any(_takes_several(config) for config in planned.resolved.values())
    devices = Devices(study.jobs, places.jobs_per_device, places.devices, shared=shared)
    tuning = _tuning(planned)
    with Display(len(runs)) as display, ThreadPoolExecutor(devices.count) as pool, _ended_by_errors(pool, processes):
        jobs: dict[str, Job] = {}
        for run in sorted(runs, key=lambda run: (run.role == "teacher", not run.tried)):  # those before that others look at
            trials = [jobs[trial.name] for trial in run.trials]
            students = [jobs[other.name] for other in runs if run in other.teachers.values()]
            config = planned.resolved[run.name]
            jobs[run.name] = Job(study, run, config, display, processes, devices, tuning, trials, students)
        outcomes = all_in_order(runs, lambda run, ended: pool.submit(jobs[run.name].execute, ended), devices.count)
        return {name: reason for name, reason in outcomes.items() if reason}


def _takes_several(config: Mapping[str, Any]) -> bool:
    """Whether a run asks for more devices than one; "auto", all there are, is one in a study."""
    return config["trainer"].get("devices", "auto") not in ("auto", None, 1, "1")


def _tables(planned: Planned, failures: Mapping[str, str], compare: Callable[..., str]) -> str:
    """Of the runs that ended well, after a line for each that did not; with conditions one for the runs under each."""
    for name, reason in failures.items():
        say(f"failed: {name}: {reason}", error=True)
    study, directory = planned.study, planned.directory
    output = Path(study.results) if study.results and not failures else directory  # published is the whole table alone
    done = [run.directory for run in planned.runs if not run.tried and run.name not in failures]
    if not done:
        return "no run was finished, so there is nothing to compare"
    try:
        if others := sorted({path.parent for path in records_below(directory)} - set(done)):
            say(f"{len(others)} in no table, as this study has no such run that ended well: {first_few(others)}", error=True)
    except UserError as error:  # of a folder that is nobody's run
        say(f"ard: warning: {error}", error=True)
    if not study.conditions:
        return _table(study, done, (directory, output), compare)
    tables = []
    for condition in study.conditions:
        apart = {directory / other for other in study.conditions if other != condition}
        folders = [folder for folder in done if not apart & set(folder.parents)]
        if any(directory / condition in folder.parents for folder in folders):
            places = directory / condition, output / condition
            tables.append(f"{condition}:\n\n{_table(study, folders, places, compare)}")
    return "\n\n".join(tables)


def _table(study: Study, folders: list[Path], places: tuple[Path, Path], compare: Callable[..., str]) -> str:
    """Of runs in `folders`; where the baseline's or a rung's failed, without the differences to it."""
    try:
        return compare(folders, *places, baseline=study.baseline, ladders=study.ladders, last=study.last)
    except UserError as error:
        table = compare(folders, *places, baseline=None, ladders=(), last=study.last)
        say(f"the table is without the study's baseline and ladders: {error}", error=True)
        return table


@contextmanager
def _ended_by_errors(pool: Executor, processes: Processes) -> Iterator[None]:
    """A block whose error asks every run to end and begins no more of them; the pool then waits for those."""
    try:
        yield
    except BaseException:
        processes.stop()
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _end_with_signals() -> None:
    for number in STATUS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _end_once)


def _end_once(number: int, _: object) -> None:
    """The first signal ends the study and its runs, each with a checkpoint; a second one must not interrupt that."""
    for each in STATUS:
        signal.signal(each, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(STATUS[signal.Signals(number)])


def _without_the_repositorys_results(study: Study, path: Path, directory: Path) -> Study:
    """A study that comes with ard publishes into ard's repository: from another folder it does not, and says so."""
    if not study.results or not path.is_relative_to(root()) or Path.cwd().samefile(root().parent):
        return study
    say(f"records and the table are below {directory} alone; {study.results} is a folder of ard's repository")
    return replace(study, results=None)
