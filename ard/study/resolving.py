"""The resolved config of every run of a study; runs that differ in a few values alone are resolved once."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import getitem
from typing import Any

from ard.core.errors import UserError
from ard.study.study_run import StudyRun

Config = dict[str, Any]


class Resolver:
    """Resolves runs: all that differ in seed, fold and the places of files have one config but for these values.

    A study of five folds and three seeds is so planned in seconds. What a run of them cannot be is refused with the first,
    and a seed or fold that cannot be with the first run that has it.

    Args:
        resolve: The words of an `ard fit` -> the resolved config; raises UserError where its parts cannot be built.
    """

    def __init__(self, resolve: Callable[[list[str]], Config]) -> None:
        self.resolve = resolve
        self._known: dict[str, Config] = {}
        self._tried: set[tuple[str, int]] = set()

    def __call__(self, run: StudyRun) -> Config:
        """The config of a run, as `resolve` gives it for its arguments."""
        kind, numbers = _kind(run), {("seed", run.seed), *run.fold.items()}
        if kind not in self._known or not numbers <= self._tried:
            self._known[kind] = self._resolved(run)
            self._tried |= numbers
        config = self._known[kind]
        for place, value in _own(run).items():
            config = with_value(config, place, value)
        return config

    def _resolved(self, run: StudyRun) -> Config:
        try:
            return self.resolve(run.arguments)
        except UserError as error:
            raise UserError(f"{run.name}: {error}") from error


def with_value(config: Mapping[str, Any], place: Sequence[str], value: Any) -> Config:
    """A config with another value at a place."""
    first, *rest = place
    return {**config, first: with_value(config[first], rest, value) if rest else value}


def value_at(config: Mapping[str, Any], place: Sequence[str]) -> Any:
    """What a config has at a place; raises KeyError or TypeError where there is no such."""
    return reduce(getitem, place, config)


def _own(run: StudyRun) -> dict[tuple[str, ...], Any]:
    """The values that a run may have alone, by their places in its config."""
    weights = {
        ("model", "init_args", *place.split("."), "init_args", "weights"): str(teacher.weights)
        for place, teacher in run.teachers.items()
    }
    fold = {tuple(key.split(".")): number for key, number in run.fold.items()}
    return {("seed_everything",): run.seed, ("trainer", "default_root_dir"): str(run.directory), **fold, **weights}


def _kind(run: StudyRun) -> str:
    """What runs share that differ in these values alone."""
    networks = {place: teacher.network for place, teacher in run.teachers.items()}
    return json.dumps([run.configs, run.overrides, sorted(run.fold), networks])
