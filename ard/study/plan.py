"""What a study consists of: fold by fold teachers, trials, then conditions × recipes × seeds."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from ard.artifacts.class_paths import is_ours
from ard.artifacts.paths import TRIALS
from ard.artifacts.run_name import row_name, swept_words
from ard.configs.catalogue import find, short_config_path
from ard.configs.files import method_arguments
from ard.core.errors import UserError
from ard.study.resolving import Resolver
from ard.study.studied_data import innermost_data
from ard.study.study_file import Study, plain_key, short_name
from ard.study.study_run import StudyRun
from ard.study.teachers import missing_teachers


def plan(study: Study, directory: Path, resolve: Resolver) -> list[StudyRun]:
    """All runs, one fold after the other: a study that was stopped has whole folds to compare."""
    runs = [run for fold in study.every_fold for run in _of_one_fold(study, directory, fold, resolve)]
    _check_rows(study, [run for run in runs if not run.tried])
    for name, count in Counter(run.name for run in runs).items():
        if count > 1:
            raise UserError(
                f"{count} runs would be called {name}: expected swept settings whose last words or numbers differ"
            )
    return runs


def _of_one_fold(study: Study, directory: Path, fold: int | None, resolve: Resolver) -> list[StudyRun]:
    """Teachers, then trials, then what is evaluated; those that wait for a teacher come last."""
    teachers = {name: _with_network(run, resolve) for name, run in _teachers(study, directory, fold).items()}
    chosen = {recipe: _choices(study, directory, recipe, fold, teachers, resolve) for recipe in study.recipes}
    runs = [
        run
        for seed, recipe in product(study.seeds_of(fold), study.recipes)
        for condition in study.conditions_of(recipe)
        for run in _runs(study, directory, recipe, fold, seed, chosen[recipe], condition)
    ]
    runs.sort(key=lambda run: (bool(run.teachers), study.seeds_of(fold).index(run.seed)))
    trials = {trial.name: trial for run in runs for trial in run.trials}
    return [*teachers.values(), *trials.values(), *runs]


def _check_rows(study: Study, runs: Sequence[StudyRun]) -> None:
    """Raises UserError where the table would have no row that its differences are to be taken to."""
    known = dict.fromkeys(("teachers/" * (run.role == "teacher")) + row_name(run.method, run.swept) for run in runs)
    rungs = [name for ladder in study.ladders for name in ladder]
    for what, named in (("baseline", [study.baseline] if study.baseline else []), ("ladders", rungs)):
        for name in named:
            if not {name, name.rpartition("then-")[2]} & set(known):  # a pruned start has a word before the method
                raise UserError(f"{what}: the study has no row {name!r}; expected some of {', '.join(known)}")
    for ladder in study.ladders:
        if len(ladder) < 2:
            raise UserError(f"ladders: {list(ladder)}: expected two rows or more")
        if any(name == after for name, after in pairwise(ladder)):
            raise UserError(f"ladders: {list(ladder)}: a step from a row to itself; expected two different rows")


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
            configs=(_config(study.base, "bases"), _config(config, "teachers"), *_schedule(study, name)),
            overrides={**_of_teacher(study.common, config), **study.overrides.get(name, {})},
            fold=_of_fold(study, fold),
            seed=study.teacher_seed(fold),
        )
        for name, config in configs.items()
    }


def _of_teacher(common: dict[str, Any], config: str) -> dict[str, Any]:
    """The common keys; without those of the student where the teacher's config says its own network."""
    arguments = method_arguments(config, "teachers")
    if "student" not in arguments:
        return common
    return {key: value for key, value in common.items() if not f"{plain_key(key)}.".startswith("model.student.")}


def _of_fold(study: Study, fold: int | None) -> dict[str, int]:
    """Which fold is for test: of the data set itself, where others are around it."""
    return {} if fold is None else {f"{innermost_data(study)}.fold": fold}


def _with_network(run: StudyRun, resolve: Resolver) -> StudyRun:
    student = resolve(run)["model"]["init_args"]["student"]
    return replace(run, student=student, network=None if is_ours(student) else student)


def _config(name: str, kind: str) -> str:
    return short_config_path(find(name, kind))


def _schedule(study: Study, name: str) -> list[str]:
    """The schedule that a recipe or teacher has of its own."""
    return [_config(study.schedules[name], "schedules")] if name in study.schedules else []


def _given_teacher(study: Study, recipe: Path) -> dict[str, Any]:
    """The teacher that is there already, for a recipe that distils from one."""
    arguments = method_arguments(recipe, "methods")
    wants_one = study.given_teacher is not None and arguments.get("teacher") is not None
    return {"model.init_args.teacher": study.given_teacher} if wants_one else {}


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
    condition: str | None = None,
) -> Iterator[StudyRun]:
    """A run for each choice of teachers and for each value of a sweep, under a condition; None: the first."""
    config = _config_of(recipe)
    conditions = study.conditions_of(recipe)
    condition = next(iter(conditions)) if condition is None else condition
    for swept in _settings(study, config.stem):
        name = row_name(config.stem, swept)
        for mine in chosen:
            teacher = f"-{mine['teacher'].method}" if "teacher" in mine and len(study.teachers) > 1 else ""
            label = Path(condition, f"{name}{teacher}", "" if fold is None else f"fold{fold}").as_posix()
            run = StudyRun(
                name=f"{label}/seed{seed}",
                study=Path(directory.name, condition).as_posix(),
                method=f"{config.stem}{teacher}",
                swept=swept,
                directory=directory / label / f"seed{seed}",
                configs=(_config(study.base, "bases"), str(config), *_schedule(study, config.stem)),
                overrides={
                    **_given_teacher(study, config),
                    **study.common,
                    **conditions[condition],
                    **study.overrides.get(config.stem, {}),
                    **swept,
                },
                fold=_of_fold(study, fold),
                seed=seed,
                teachers=mine,
            )
            yield replace(run, trials=_trials(study, directory, replace(run, seed=study.seeds_of(fold)[0]), label))


def _trials(study: Study, directory: Path, run: StudyRun, label: str) -> tuple[StudyRun, ...]:
    """The runs, with the seed of `run`, that choose among the numbers to tune; none where nothing is tuned."""
    settings = [dict(zip(study.tune, values, strict=True)) for values in product(*study.tune.values())] if study.tune else []
    trials = []
    for setting in settings:
        name = f"{TRIALS}/{label}/{swept_words(setting)}"
        overrides = {**run.overrides, **setting}
        trials.append(replace(run, name=name, directory=directory / name, overrides=overrides, tried=setting))
    return tuple(trials)


def _choices(
    study: Study,
    directory: Path,
    recipe: str,
    fold: int | None,
    teachers: dict[str, StudyRun],
    resolve: Resolver,
) -> list[dict[str, StudyRun]]:
    """The teachers a recipe can be trained with: each of the study's in turn, and beside it the others that it wants."""
    first = next(_runs(study, directory, recipe, fold, study.seeds_of(fold)[0]))
    places = missing_teachers(resolve(first))
    others = {place: place.rpartition(".")[2] for place in places if place != "teacher"}
    for argument in others.values():
        if argument not in study.others:
            key = f"`{argument}:`" if argument == "natural_teacher" else f"`other_teachers: {{{argument}: CONFIG}}`"
            raise UserError(f"recipe {recipe!r} has a teacher {argument!r}, but the study names no {key}")
    beside = {place: teachers[short_name(argument)] for place, argument in others.items()}
    if "teacher" not in places:
        if Path(recipe).stem in study.taught_by:
            raise UserError(f"taught_by {Path(recipe).stem}: a recipe without a teacher; expected one that has a teacher")
        return [beside]
    if not study.teachers:
        raise UserError(f"recipe {recipe!r} distils, but the study names no `teachers:` and no `given_teacher:`")
    mine = study.taught_by.get(Path(recipe).stem, study.teachers)
    return [{"teacher": teachers[teacher], **beside} for teacher in mine]


def _settings(study: Study, method: str) -> list[dict[str, float]]:
    """The swept setting of each value of each sweep of a recipe; without a sweep one that sets nothing."""
    return [{key: value} for key, values in study.sweeps.get(method, {}).items() for value in values] or [{}]
