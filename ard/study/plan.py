"""What a study consists of: teachers, then recipes × seeds."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Literal

from ard.artifacts.class_paths import is_ours
from ard.artifacts.paths import TRIALS, RunFolder
from ard.configs.building import build
from ard.configs.catalogue import find, names, shown
from ard.configs.files import read_yaml
from ard.core.errors import UserError
from ard.evaluation.request import Request
from ard.study.teachers import missing_teachers

MOST_JOBS = 1000  # processes at a time


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study's file. `teachers` and `recipes` name configs; `overrides` set keys of one recipe (or teacher).

    Each of `teachers` in turn is the `teacher` of a recipe that wants one. Teachers that some methods want beside it are of
    `other_teachers`, argument -> config; the usual one, trained on clean images, has a key of its own, `natural_teacher`.
    `sweeps` gives keys of a recipe several numbers, a run for each: recipe -> key -> numbers.

    With `tune`, the first seed of every recipe, and fold, is first trained with each of its numbers, key -> numbers, all
    combinations where there are several keys; all seeds then take the one with the highest accuracy on validation images.

    With `folds`, every method and every teacher is trained for each of so many folds of the data, each of which is for test
    once: `data.fold` says which.

    With `results`, finished records are copied there, and a run whose record is there already is not trained again.
    """

    base: str
    recipes: Sequence[str]
    teachers: dict[str, str] = field(default_factory=dict)
    natural_teacher: str | None = None
    other_teachers: dict[str, str] = field(default_factory=dict)
    seeds: Sequence[int] = (0,)
    folds: int | None = None
    jobs: int = 1
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    sweeps: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    tune: dict[str, list[float]] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    results: str | None = None
    baseline: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.jobs <= MOST_JOBS or not self.seeds:
            raise UserError(
                f"jobs = {self.jobs}, seeds = {list(self.seeds)}: expected 1 to {MOST_JOBS} jobs, a seed or more"
            )
        if self.folds is not None and self.folds < 2:
            raise UserError(f"folds = {self.folds}: expected 2 or more, or none for the usual test split")

    @property
    def every_fold(self) -> list[int | None]:
        """The folds, or None alone for the data set's own test split."""
        return [None] if self.folds is None else list(range(self.folds))

    @property
    def others(self) -> dict[str, str]:
        """The configs of the teachers beside `teacher`, by the argument that they are for."""
        natural = {} if self.natural_teacher is None else {"natural_teacher": self.natural_teacher}
        return natural | self.other_teachers

    @property
    def request(self) -> Request:
        """The request that the record of every run must answer."""
        known = {field.name for field in fields(Request)}
        for key in set(self.evaluate) - known:
            raise UserError(f"evaluate: unknown key {key!r}; expected some of {', '.join(sorted(known))}")
        values: dict[str, Any] = {key: str(value) if key == "eps" else value for key, value in self.evaluate.items()}
        return Request(**values)


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """A run: its directory below the study's, its configs, and the teachers it waits for, by their config's place.

    `swept` has the key and the number of the setting in which it differs from the other runs of its method.
    `network` is the class of a student that is not ours; commands that read its weights need it. `trials` are the runs of
    which the best says with what settings this one runs; `tried` has a trial's own, which nobody evaluates.
    """

    name: str
    study: str
    method: str
    role: Literal["student", "teacher"] = "student"
    swept: dict[str, float] = field(default_factory=dict)
    directory: Path
    configs: tuple[str, ...]
    overrides: dict[str, Any]
    seed: int
    teachers: dict[str, "StudyRun"] = field(default_factory=dict)
    network: dict[str, Any] | None = None
    trials: tuple["StudyRun", ...] = ()
    tried: dict[str, float] = field(default_factory=dict)

    @property
    def folder(self) -> RunFolder:
        """Its files."""
        return RunFolder(self.directory)

    @property
    def weights(self) -> Path:
        """The selected student."""
        return self.folder.weights()

    @cached_property
    def arguments(self) -> list[str]:
        """Of `ard fit`; printed in the log, so that a run can be repeated by hand."""
        options = {"seed_everything": self.seed, "trainer.default_root_dir": self.directory, **self.overrides}
        for place, teacher in self.teachers.items():
            short = f"model.{place}".replace(".init_args", "")
            options[f"{short}.weights"] = teacher.weights
            if teacher.network is not None:
                options[f"{short}.network"] = teacher.network
        configs = [part for config in self.configs for part in ("-c", config)]
        return ["fit", *configs, *(f"--{key}={_text(value)}" for key, value in options.items())]


def read_study(path: Path) -> Study:
    """The study in a YAML file; raises UserError for unknown or missing keys, wrong types and missing configs."""
    content, name = read_yaml(path, "studies"), shown(path)
    if {"data", "model", "trainer"} & set(content):
        raise UserError(f"{name} is a config for `ard fit {name}`; expected a study, such as configs/studies/digits.yaml")
    study: Study = build(Study, content)
    study.request.check()
    study.request.check_ball()
    stems = [Path(recipe).stem for recipe in study.recipes]
    for what, values in (("recipes", stems), ("seeds", list(study.seeds))):
        if len(set(values)) < len(values):
            raise UserError(f"{name}: {what} {values} repeat; expected each once")
    runs = {*stems, *study.teachers, *map(short_name, study.others), "natural"}
    for run in set(study.overrides) - runs:
        if run not in names("methods"):
            raise UserError(f"{name}: overrides for {run!r}, which is neither a recipe nor a teacher")
    for run in set(study.sweeps) - set(stems):
        raise UserError(f"{name}: a sweep of {run!r}, which is none of its recipes")
    for key, numbers in study.tune.items():
        if not numbers or len(set(numbers)) < len(numbers):
            raise UserError(f"{name}: tune {key} {numbers}: expected numbers, each once")
        for settings in (study.sweeps, study.overrides):
            if fixed := [run for run, keys in settings.items() if key in keys]:
                raise UserError(f"{name}: {key} is tuned, and set for {fixed[0]}: expected one of them")
    _check_configs(name, study)
    return study


def _check_configs(name: str, study: Study) -> None:
    """Raises UserError where a file that the study names is not there; its recipes are asked for when it is planned."""
    for kind, configs in (("bases", [study.base]), ("teachers", [*study.teachers.values(), *study.others.values()])):
        for config in configs:
            try:
                find(config, kind)
            except UserError as error:
                raise UserError(f"{name} names {error}") from error


def plan(study: Study, directory: Path, rehearse: Callable[..., dict[str, Any]]) -> list[StudyRun]:
    """All runs, teachers first and those that wait for a teacher last; `rehearse` resolves the words of an `ard fit`."""
    teachers: list[StudyRun] = []
    runs: list[StudyRun] = []
    for fold in study.every_fold:
        mine = {name: _with_network(run, rehearse) for name, run in _teachers(study, directory, fold).items()}
        chosen = {recipe: _choices(study, directory, recipe, fold, mine, rehearse) for recipe in study.recipes}
        teachers += mine.values()
        runs += [
            run
            for seed in study.seeds
            for recipe in study.recipes
            for run in _runs(study, directory, recipe, fold, seed, chosen[recipe])
        ]
    runs.sort(key=lambda run: (bool(run.teachers), study.seeds.index(run.seed)))
    trials = dict.fromkeys(trial.name for run in runs for trial in run.trials)
    by_name = {trial.name: trial for run in runs for trial in run.trials}
    return [*teachers, *(by_name[name] for name in trials), *runs]


def _teachers(study: Study, directory: Path, fold: int | None) -> dict[str, StudyRun]:
    """The teachers of one fold, by name."""
    configs = study.teachers | {short_name(argument): config for argument, config in study.others.items()}
    below = "" if fold is None else f"/fold{fold}"
    return {
        name: StudyRun(
            name=f"teachers/{name}{below}",
            study=directory.name,
            method=name,
            role="teacher",
            directory=directory / f"teachers/{name}{below}",
            configs=(_config(study.base, "bases"), _config(config, "teachers")),
            overrides={**study.overrides.get(name, {}), **_of_fold(study, fold)},
            seed=0,
        )
        for name, config in configs.items()
    }


def _of_fold(study: Study, fold: int | None) -> dict[str, Any]:
    """Which fold is for test: of the data set itself, where others are around it."""
    if fold is None:
        return {}
    key, part = "data", read_yaml(find(study.base, "bases"), "bases").get("data")
    while isinstance(part, dict) and isinstance(inner := (part.get("init_args") or {}).get("base"), dict):
        key, part = f"{key}.init_args.base", inner
    return {f"{key}.init_args.fold": fold}


def short_name(argument: str) -> str:
    """natural_teacher -> natural: the folder of such a teacher, and its name in `overrides`."""
    return argument.removesuffix("_teacher")


def _with_network(run: StudyRun, rehearse: Callable[..., dict[str, Any]]) -> StudyRun:
    student = rehearse(*run.arguments)["model"]["init_args"]["student"]
    return run if is_ours(student) else replace(run, network=student)


def _config(name: str, kind: str) -> str:
    return shown(find(name, kind))


def _config_of(recipe: str) -> Path:
    try:
        return Path(_config(recipe, "methods"))
    except UserError as error:
        raise UserError(f"recipe {error}") from error


def _runs(
    study: Study,
    directory: Path,
    recipe: str,
    fold: int | None,
    seed: int,
    chosen: Sequence[dict[str, StudyRun]] = ({},),
) -> Iterator[StudyRun]:
    """A run for each choice of teachers and for each value of a sweep."""
    config = _config_of(recipe)
    for name, swept in _settings(study, config.stem):
        for mine in chosen:
            teacher = f"-{mine['teacher'].method}" if len(chosen) > 1 else ""
            label = f"{name}{teacher}" + ("" if fold is None else f"/fold{fold}")
            run = StudyRun(
                name=f"{label}/seed{seed}",
                study=directory.name,
                method=f"{config.stem}{teacher}",
                swept=swept,
                directory=directory / label / f"seed{seed}",
                configs=(_config(study.base, "bases"), str(config)),
                overrides={**study.overrides.get(config.stem, {}), **_of_fold(study, fold), **swept},
                seed=seed,
                teachers=mine,
            )
            yield replace(run, trials=_trials(study, directory, run, label))


def _trials(study: Study, directory: Path, run: StudyRun, label: str) -> tuple[StudyRun, ...]:
    """The runs, with the first seed, that choose among the numbers to tune; none where nothing is tuned."""
    settings = [dict(zip(study.tune, values, strict=True)) for values in product(*study.tune.values())] if study.tune else []
    trials = []
    for setting in settings:
        words = "-".join(f"{key.rpartition('.')[2]}-{value:g}" for key, value in setting.items())
        name = f"{TRIALS}/{label}/{words}"
        overrides = {**run.overrides, **setting}
        seed = study.seeds[0]
        trials.append(replace(run, name=name, directory=directory / name, overrides=overrides, seed=seed, tried=setting))
    return tuple(trials)


def _choices(
    study: Study,
    directory: Path,
    recipe: str,
    fold: int | None,
    teachers: dict[str, StudyRun],
    rehearse: Callable[..., dict[str, Any]],
) -> list[dict[str, StudyRun]]:
    """The teachers a recipe can be trained with: each of the study's in turn, and beside it the others that it wants."""
    first = next(_runs(study, directory, recipe, fold, study.seeds[0]))
    places = missing_teachers(rehearse(*first.arguments))
    others = {place: place.rpartition(".")[2] for place in places if place != "teacher"}
    for argument in others.values():
        if argument not in study.others:
            key = f"`{argument}:`" if argument == "natural_teacher" else f"`other_teachers: {{{argument}: CONFIG}}`"
            raise UserError(f"recipe {recipe!r} has a teacher {argument!r}, but the study names no {key}")
    beside = {place: teachers[short_name(argument)] for place, argument in others.items()}
    if "teacher" not in places:
        return [beside]
    if not study.teachers:
        raise UserError(f"recipe {recipe!r} distils, but the study names no `teachers:`")
    return [{"teacher": teachers[teacher], **beside} for teacher in study.teachers]


def _settings(study: Study, method: str) -> Iterator[tuple[str, dict[str, float]]]:
    """A folder's name and the swept setting, for each value of each sweep of a recipe; without a sweep once."""
    swept = [(key, value) for key, values in study.sweeps.get(method, {}).items() for value in values]
    for key, value in swept:
        yield f"{method}-{key.rpartition('.')[2]}-{value:g}", {key: value}
    if not swept:
        yield method, {}


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict | bool) or value is None else str(value)
