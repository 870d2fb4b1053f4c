"""What a study consists of: teachers, then recipes × seeds."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ard.artifacts.paths import RunFolder
from ard.cli.config_files import read_yaml
from ard.cli.parsing import build
from ard.core.errors import UserError
from ard.core.suggestions import near_file
from ard.evaluation.request import Request

MOST_JOBS = 1000  # processes at a time
NATURAL = "objective.init_args.natural_teacher"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study's file. `teachers` and `recipes` name configs; `overrides` set keys of one recipe (or teacher).

    `natural_teacher` is the config of the second teacher that some methods want, one trained on clean images. `sweeps` gives
    keys of a recipe several numbers, a run for each: recipe -> key -> numbers.

    With `results`, finished records are copied there, and a run whose record lies there already is not trained again.
    """

    base: str
    recipes: Sequence[str]
    teachers: dict[str, str] = field(default_factory=dict)
    natural_teacher: str | None = None
    seeds: Sequence[int] = (0,)
    jobs: int = 1
    overrides: dict[str, dict[str, Any]] = field(default_factory=dict)
    sweeps: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    results: str | None = None
    baseline: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.jobs <= MOST_JOBS or not self.seeds:
            raise UserError(
                f"jobs = {self.jobs}, seeds = {list(self.seeds)}: expected 1 to {MOST_JOBS} jobs, a seed or more"
            )

    @property
    def request(self) -> Request:
        """What every run's record must answer."""
        known = {field.name for field in fields(Request)}
        for key in set(self.evaluate) - known:
            raise UserError(f"evaluate: unknown key {key!r}; expected some of {', '.join(sorted(known))}")
        values: dict[str, Any] = {key: str(value) if key == "eps" else value for key, value in self.evaluate.items()}
        return Request(**values)


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """A run: its directory below the study's, its configs, and the teachers it waits for, by their config's place.

    `swept` has the key and the number of the setting that tells it from the other runs of its method.
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
            options[f"model.init_args.{place}.init_args.weights"] = teacher.weights
        configs = [part for config in self.configs for part in ("-c", config)]
        return ["fit", *configs, *(f"--{key}={_text(value)}" for key, value in options.items())]


def read_study(path: Path) -> Study:
    """The study in a YAML file; raises UserError for unknown or missing keys, wrong types and missing configs."""
    if not path.is_file():
        near = near_file(path) or "; expected a file such as configs/studies/digits.yaml"
        raise UserError(f"{path}: no such study{near}")
    content = read_yaml(path)
    if {"data", "model", "trainer"} & set(content):
        raise UserError(f"{path} is a config for `ard fit -c {path}`; expected a study, such as configs/studies/digits.yaml")
    study: Study = build(Study, content)
    study.request.check()
    stems = [Path(recipe).stem for recipe in study.recipes]
    for what, names in (("recipes", stems), ("seeds", list(study.seeds))):
        if len(set(names)) < len(names):
            raise UserError(f"{path}: {what} {names} repeat; expected each once")
    for name in study.overrides:
        if name not in (*stems, *study.teachers, "natural") and not Path(f"configs/objectives/{name}.yaml").is_file():
            raise UserError(f"{path}: overrides for {name!r}, which is neither a recipe nor a teacher")
    for name in set(study.sweeps) - set(stems):
        raise UserError(f"{path}: a sweep of {name!r}, which is none of its recipes")
    for config in filter(None, (study.base, *study.teachers.values(), study.natural_teacher)):
        if not Path(config).is_file():
            raise UserError(f"{path} names {config}, which does not exist{near_file(config)}")
    return study


def plan(study: Study, directory: Path) -> list[StudyRun]:
    """All runs, teachers first and those that wait for a teacher last."""
    configs = study.teachers | ({"natural": study.natural_teacher} if study.natural_teacher else {})
    teachers = {
        name: StudyRun(
            name=f"teachers/{name}",
            study=directory.name,
            method=name,
            role="teacher",
            directory=directory / "teachers" / name,
            configs=(study.base, config),
            overrides=study.overrides.get(name, {}),
            seed=0,
        )
        for name, config in configs.items()
    }
    runs = [
        run for seed in study.seeds for recipe in study.recipes for run in _runs(study, directory, recipe, seed, teachers)
    ]
    return [*teachers.values(), *sorted(runs, key=lambda run: bool(run.teachers))]


def _runs(study: Study, directory: Path, recipe: str, seed: int, teachers: dict[str, StudyRun]) -> list[StudyRun]:
    """A run for each choice of teachers and for each value of a sweep."""
    config = recipe if recipe.endswith(".yaml") else f"configs/objectives/{recipe}.yaml"
    if not Path(config).is_file():
        raise UserError(f"recipe {recipe!r}: no file {config}{near_file(config)}")
    method = Path(config).stem
    chosen, runs = _choices(study, recipe, Path(config), teachers), []
    for name, swept in _settings(study, method):
        for mine in chosen:
            teacher = f"-{mine['teacher'].method}" if len(chosen) > 1 else ""
            label = f"{name}{teacher}"
            runs.append(
                StudyRun(
                    name=f"{label}/seed{seed}",
                    study=directory.name,
                    method=f"{method}{teacher}",
                    swept=swept,
                    directory=directory / label / f"seed{seed}",
                    configs=(study.base, config),
                    overrides={**study.overrides.get(method, {}), **swept},
                    seed=seed,
                    teachers=mine,
                )
            )
    return runs


def _choices(study: Study, recipe: str, config: Path, teachers: dict[str, StudyRun]) -> list[dict[str, StudyRun]]:
    """The teachers a recipe can be trained with: each of the study's in turn, and beside it the second one it may want."""
    wanted, second = read_yaml(config).get("model", {}).get("init_args", {}), {}
    if "natural_teacher" in wanted.get("objective", {}).get("init_args", {}):
        if study.natural_teacher is None:
            raise UserError(f"recipe {recipe!r} has a second teacher, but the study names no `natural_teacher:`")
        second = {NATURAL: teachers["natural"]}
    if "teacher" not in wanted:
        return [second]
    if not study.teachers:
        raise UserError(f"recipe {recipe!r} distils, but the study names no `teachers:`")
    return [{"teacher": teachers[teacher], **second} for teacher in study.teachers]


def _settings(study: Study, method: str) -> Iterator[tuple[str, dict[str, float]]]:
    """A folder's name and the swept setting, for each value of each sweep of a recipe; without a sweep once."""
    swept = [(key, value) for key, values in study.sweeps.get(method, {}).items() for value in values]
    for key, value in swept:
        yield f"{method}-{key.rpartition('.')[2]}-{value:g}", {key: value}
    if not swept:
        yield method, {}


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict | bool) or value is None else str(value)
