"""A study's file: what it may say, and what is refused before anything is planned."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ard.artifacts.paths import TRIALS
from ard.cli.aliases import ALIASES
from ard.configs.building import build
from ard.configs.catalogue import find, names, own_name, short_config_path
from ard.configs.files import check_finite, read_yaml
from ard.core.errors import UserError
from ard.evaluation.request import Request

CONDITION = re.compile(r"[A-Za-z0-9_-]+")  # is a folder's name
AS_WRITTEN = ("given_teacher", "common", "overrides", "conditions", "evaluate")  # what they name is data: nothing builds it
MOST_JOBS = 1000  # processes at a time


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study's file: which runs there are, with which settings, and what its tables compare.

    Args:
        base: The config of data, student and trainer that every run begins with.
        recipes: The configs of the methods, each a row of the table.
        teachers: Of the teachers that are trained here, name -> config. Each in turn is the `teacher` of a recipe that wants
            one.
        taught_by: The teachers of one recipe, where it is not to have all: recipe -> names.
        given_teacher: In their place, one that is not trained here: {class_path, init_args}, such as ard.models.RobustBench
            with a name.
        natural_teacher: The config of the usual teacher beside the first, trained on clean images, for methods that want it.
        other_teachers: Of more teachers beside it, argument -> config.
        seeds: Of every recipe, and of every fold; or, as a list for each fold, its own: with the same ones, intervals over
            folds know nothing of how a training depends on its first weights.
        folds: Of the data: every method and every teacher is trained for each, which is for test once; `data.fold` says
            which. null: the data set's own test split.
        only_fold: One of them alone.
        jobs: How many runs are trained at once.
        schedules: A schedule of its own for a recipe (or teacher), name -> config, read after the recipe.
        common: Keys of every run; of teachers too, but for the network where their own configs say one.
        overrides: Keys of one recipe (or teacher), name -> key -> value; they win over `common`.
        sweeps: Several numbers for keys of a recipe, a run for each: recipe -> key -> numbers.
        tune: Numbers to choose among, key -> numbers. The first seed of every recipe, and fold, is first trained with each,
            all combinations where there are several keys; all seeds then take the one with the highest accuracy on
            validation images.
        conditions: Names and the keys that each sets. Every recipe is trained under each of them, and each has a table of
            its own; the teachers know nothing of them.
        without_condition: Recipes that know nothing of them either: they are trained once, and are in every table.
        evaluate: Options of `ard evaluate` for every record, without their hyphens.
        results: A folder to which finished records are copied; a run whose record is there already is not trained again.
        baseline: The row that the table's differences are taken to.
        ladders: Lists of rows, each of which is compared with the one before it.
        last: Whether the table is of last epochs alone, which nobody selected.
    """

    base: str
    recipes: Sequence[str]
    teachers: dict[str, str] = field(default_factory=dict)
    taught_by: dict[str, list[str]] = field(default_factory=dict)
    given_teacher: dict[str, Any] | None = None
    natural_teacher: str | None = None
    other_teachers: dict[str, str] = field(default_factory=dict)
    seeds: Sequence[int] | Sequence[Sequence[int]] = (0,)
    folds: int | None = None
    only_fold: int | None = None
    jobs: int = 1
    schedules: dict[str, str] = field(default_factory=dict)
    common: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    sweeps: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    tune: dict[str, list[float]] = field(default_factory=dict)
    conditions: dict[str, dict[str, Any]] = field(default_factory=dict)
    without_condition: Sequence[str] = ()
    evaluate: dict[str, Any] = field(default_factory=dict)
    results: str | None = None
    baseline: str | None = None
    ladders: Sequence[Sequence[str]] = ()
    last: bool = False

    def __post_init__(self) -> None:
        if self.given_teacher is not None and (self.teachers or "class_path" not in self.given_teacher):
            raise UserError("given_teacher: expected {class_path, init_args}, and no `teachers` beside it")
        if not self.recipes:
            raise UserError("recipes = []: expected a method or more")
        if not 1 <= self.jobs <= MOST_JOBS:
            raise UserError(f"jobs = {self.jobs}: expected 1 to {MOST_JOBS}")
        if self.only_fold is not None and self.only_fold not in range(self.folds or 0):
            raise UserError(f"only_fold = {self.only_fold}: expected `folds:`, and 0 to folds - 1")
        if self.folds is not None and self.folds < 2:
            raise UserError(f"folds = {self.folds}: expected 2 or more, or none for the usual test split")
        counts = [len(seeds) for seeds in self._own_seeds]
        if not self.seeds or 0 in counts or (counts and not (len(self.seeds) == len(counts) == self.folds)):
            raise UserError(f"seeds = {list(self.seeds)}: expected a seed or more, or a list of them for each of `folds:`")
        if len(set(counts)) > 1:
            raise UserError(f"seeds = {list(self.seeds)}: expected as many for each fold")

    @property
    def every_fold(self) -> list[int | None]:
        """The folds, or None alone for the data set's own test split."""
        if self.folds is None or self.only_fold is not None:
            return [self.only_fold]
        return list(range(self.folds))

    def seeds_of(self, fold: int | None) -> Sequence[int]:
        """The seeds of a fold: its own, or those of all."""
        return self._own_seeds[fold or 0] if self._own_seeds else [seed for seed in self.seeds if isinstance(seed, int)]

    def teacher_seed(self, fold: int | None) -> int:
        """The first of a fold's own seeds; 0 where all folds share theirs."""
        return self._own_seeds[fold or 0][0] if self._own_seeds else 0

    @property
    def _own_seeds(self) -> list[Sequence[int]]:
        return [seeds for seeds in self.seeds if not isinstance(seeds, int)]

    def conditions_of(self, recipe: str) -> dict[str, dict[str, Any]]:
        """What a recipe is trained under: the conditions, or a single one without a name that sets nothing."""
        under_none = Path(recipe).stem in self.without_condition
        return {"": {}} if under_none or not self.conditions else self.conditions

    @property
    def others(self) -> dict[str, str]:
        """The configs of the teachers beside `teacher`, by the argument that they are for."""
        natural = {} if self.natural_teacher is None else {"natural_teacher": self.natural_teacher}
        return natural | self.other_teachers

    @cached_property
    def request(self) -> Request:
        """The request that the record of every run must answer; raises UserError for what `ard evaluate` would refuse."""
        known = {field.name for field in fields(Request)}
        for key in set(self.evaluate) - known:
            raise UserError(f"unknown key {key!r}; expected some of {', '.join(sorted(known))}")
        values: dict[str, Any] = {key: str(value) if key == "eps" else value for key, value in self.evaluate.items()}
        request: Request = build(Request, values)
        return request


def read_study(path: Path) -> Study:
    """The study in a YAML file; raises UserError for unknown or missing keys, wrong types and missing configs."""
    content, name = read_yaml(path, "studies"), short_config_path(path)
    if {"data", "model", "trainer"} & set(content):
        raise UserError(f"{name} is a config for `ard fit {name}`; expected a study, such as configs/studies/digits.yaml")
    try:
        study: Study = build(Study, {key: value for key, value in content.items() if key not in AS_WRITTEN})
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    settings: dict[str, Any] = {key: _keys(name, key, content[key]) for key in AS_WRITTEN if key in content}
    study = replace(study, recipes=[own_name(recipe, "methods") for recipe in study.recipes], **settings)
    _check_request(name, study)
    stems = [Path(recipe).stem for recipe in study.recipes]
    once: list[tuple[str, Sequence[object]]] = [("recipes", stems)]
    for what, values in once + [("seeds", study.seeds_of(fold)) for fold in study.every_fold]:
        if len(set(values)) < len(values):
            raise UserError(f"{name}: {what} {values} repeat; expected each once")
    _check_names(name, study, stems)
    _check_own(name, study)
    _check_tuned(name, study)
    _check_conditions(name, study, stems)
    _check_configs(name, study)
    return study


def _keys(name: str, what: str, value: Any) -> dict[str, Any]:
    """What stands below a key of the file: keys, or names and for each its keys; raises UserError for anything else."""
    nested = what in ("overrides", "conditions")
    if not isinstance(value, dict) or (nested and not all(isinstance(keys, dict) for keys in value.values())):
        expected = "names, and for each the keys that it sets" if nested else "keys, each with a value"
        raise UserError(f"{name}: {what}: {value}: expected {expected}")
    check_finite(value)
    return {str(key): setting for key, setting in value.items()}


def _check_request(name: str, study: Study) -> None:
    """Raises UserError where `evaluate` asks for what `ard evaluate` would refuse, or for what each run has itself."""
    try:
        if study.request.rehearse:
            raise UserError(f"rehearse is for `ard study {Path(name).stem} --rehearse` alone; expected none here")
        for key in ("data", "network", "shard"):
            if key in study.evaluate:
                raise UserError(f"{key}: expected none, each run has its own; `ard evaluate` takes another")
        if study.request.norm and study.request.eps is None:
            raise UserError(f"norm: {study.request.norm}: expected eps beside it, the radius in that norm")
        study.request.check()
        study.request.check_ball()
        study.request.check_attacks()
    except UserError as error:
        raise UserError(f"{name}: evaluate: {error}") from error


def _check_names(name: str, study: Study, stems: Sequence[str]) -> None:
    """Raises UserError for settings of a run that the study does not have, and for teachers that it has not."""
    runs = {*stems, *study.teachers, *map(short_name, study.others), "natural"}
    for what, named in (("overrides", study.overrides), ("schedules", study.schedules)):
        for run in set(named) - runs:
            if run not in names("methods"):
                raise UserError(f"{name}: {what} for {run!r}, which is neither a recipe nor a teacher")
    for what, unknown in (("a sweep of", set(study.sweeps)), ("taught_by for", set(study.taught_by))):
        for run in unknown - set(stems):
            raise UserError(f"{name}: {what} {run!r}, which is none of its recipes")
    known = ", ".join(study.teachers) or "no teachers"
    for run, teachers in study.taught_by.items():
        if not teachers or len(set(teachers)) < len(teachers) or set(teachers) - set(study.teachers):
            raise UserError(f"{name}: taught_by {run}: {teachers}: expected some of {known}")


def _check_own(name: str, study: Study) -> None:
    """Raises UserError for keys of which the study gives each run its own value, since these would be two."""
    own = {"seed_everything": "`seeds:`", "trainer.default_root_dir": "no such key: a run's folder is its name"}
    if study.folds is not None:
        own |= {"data.fold": "`folds:`", "data.base.fold": "`folds:`"}
    for settings in (study.sweeps, study.overrides, study.conditions, {"every run": study.common}, {"tune": study.tune}):
        for run, key in [(run, key) for run, keys in settings.items() for key in keys if plain_key(key) in own]:
            raise UserError(f"{name}: {key} is set for {run}; expected {own[plain_key(key)]}")


def _check_tuned(name: str, study: Study) -> None:
    """Raises UserError for numbers that repeat, and for a key that something else sets, too."""
    for key, numbers in study.tune.items():
        if not numbers or len({f"{number:g}" for number in numbers}) < len(numbers):
            raise UserError(
                f"{name}: tune {key} {numbers}: expected numbers, each once, of which the first six digits differ"
            )
        for settings in (study.sweeps, study.overrides, study.conditions, {"every run": study.common}):
            if fixed := [run for run, keys in settings.items() if plain_key(key) in map(plain_key, keys)]:
                raise UserError(f"{name}: {key} is tuned, and set for {fixed[0]}: expected one of them")


def _check_conditions(name: str, study: Study, recipes: Sequence[str]) -> None:
    """Raises UserError for a name that is no folder's or recipe's, and for a key that a condition and a recipe set."""
    for recipe in study.without_condition:
        if recipe not in recipes or not study.conditions:
            raise UserError(f"{name}: without_condition: {recipe}: expected one of its recipes, and `conditions:`")
    for condition, keys in study.conditions.items():
        if not CONDITION.fullmatch(condition) or condition in (*recipes, "teachers", TRIALS):
            raise UserError(
                f"{name}: condition {condition!r}: expected a name of letters, digits, - and _ that no recipe has"
            )
        for settings in (study.sweeps, study.overrides):
            for recipe in set(settings) & set(recipes) - set(study.without_condition):
                for key in (plain_key(one) for one in keys if any(_meet(one, other) for other in settings[recipe])):
                    raise UserError(f"{name}: {key} is set by {condition} and for {recipe}: expected one of them")


def _meet(key: str, other: str) -> bool:
    """Whether two keys set the same, or one sets what the other is a part of."""
    first, second = sorted((f"{plain_key(key)}.", f"{plain_key(other)}."), key=len)
    return second.startswith(first)


def _check_configs(name: str, study: Study) -> None:
    """Raises UserError where a file that the study names is not there; its recipes are asked for when it is planned."""
    named = {
        "bases": [study.base],
        "teachers": [*study.teachers.values(), *study.others.values()],
        "schedules": [*study.schedules.values()],
    }
    for kind, configs in named.items():
        for config in configs:
            try:
                find(config, kind)
            except UserError as error:
                raise UserError(f"{name} names {error}") from error


def plain_key(key: str) -> str:
    """One spelling of a key: epochs and trainer.max_epochs, data.flip and data.init_args.flip are the same."""
    alias = ALIASES.get(key.replace("-", "_"))
    return (alias.key if alias else key).replace(".init_args", "")


def short_name(argument: str) -> str:
    """natural_teacher -> natural: the folder of such a teacher, and its name in `overrides`."""
    return argument.removesuffix("_teacher")
