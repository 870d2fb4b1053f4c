"""Published accuracies beside ours: with which number a row may be compared, and how far the two are apart.

The numbers are those of configs/published.yaml. Nothing is compared where recipe, arguments of its objective (the recipe's,
or those that a number was made with), data, network, threat, checkpoint or attack differ. Schedules and what else a study
overrides are not looked at, teachers only in the question whether a published number is met.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isclose, sqrt
from typing import Any

from ard.artifacts.facts import NetworkSpec
from ard.artifacts.record import Record
from ard.configs.catalogue import PUBLISHED, root
from ard.configs.files import read_yaml
from ard.core.radius import Radius
from ard.core.statistics import mean_and_spread
from ard.report.rows import Row
from ard.report.table import AUTOATTACK

CLEAN = "clean"
MET = 2  # standard errors within which a published number is met


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one source says of one method on one data set with one student.

    Accuracies are fractions, one a seed where the source has them; `networks` says what its names of networks are here.
    `arguments` are those of the objective that are not the recipe's own.
    `spread` is the standard deviation over seeds where it is printed, `tolerance` one standard error of a number without.
    """

    source: str
    recipes: tuple[str, ...]
    data: str
    student: str
    accuracy: dict[str, tuple[float, ...]]
    networks: dict[str, dict[str, Any] | None]
    tolerance: float
    teacher: str | None = None
    eps: float = 8 / 255
    checkpoint: str = "best"
    averaged: bool | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    seeds: int | None = None
    spread: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def words(self) -> str:
        """The source, the teacher, and what a reader has to know."""
        return "; ".join([self.source, *([f"teacher {self.teacher}"] if self.teacher else []), *filter(None, [self.note])])

    def fits(self, row: Row) -> bool:
        """Whether each of its records is of the same recipe, data, network, threat and kind of checkpoint."""
        return row.is_last == (self.checkpoint == "last") and all(map(self._fits, row.records))

    def _fits(self, record: Record) -> bool:
        run = record.run
        if run is None or run.role != "student" or run.swept or record.pruned or run.method not in self.recipes:
            return False
        if not _is_made_with(record, run.method, self.arguments):
            return False
        whole = record.dataset.name == self.data and record.split == "test" and record.fold is None
        threat = record.threat
        alike = threat.norm == "Linf" and not threat.eight_bit and isclose(threat.eps, self.eps, abs_tol=1e-5)
        return whole and alike and self.averaged in (None, _averaged(record)) and self._is(self.student, record.model)

    def error(self, measure: str) -> float:
        """One standard error of a published accuracy: over its seeds where it has a spread, else the tolerance."""
        values = self.accuracy[measure]
        spread, seeds = mean_and_spread(values)[1], len(values)
        if spread is None and measure in self.spread and self.seeds:
            spread, seeds = self.spread[measure], self.seeds
        return self.tolerance if spread is None else spread / sqrt(seeds)

    def is_taught_by(self, teacher: NetworkSpec | None) -> bool:
        """Whether a teacher is of the published one's architecture, or RobustBench's of that name; None stands for none."""
        if self.teacher is None or teacher is None:
            return self.teacher is None and teacher is None
        listed = teacher.class_name == "RobustBench" and str(teacher.init_args.get("name")) in self.teacher
        return listed or self._is(self.teacher.partition(" (")[0], teacher)

    def _is(self, name: str, model: NetworkSpec) -> bool:
        """Whether a network is the one that papers call so; settings that a record does not have are the usual ones."""
        known, network = self.networks.get(name), model.innermost
        if known is None or network.class_name != known["class"] or not network.class_path.startswith("ard.models."):
            return False
        return all(network.init_args.get(key, value) == value for key, value in known["settings"].items())


def _is_made_with(record: Record, method: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a run's objective has the recipe's arguments but for these, and it saw the data set and nothing else."""
    recipe_file = root() / "methods" / f"{method}.yaml"  # ours, whatever lies in the current folder
    section = read_yaml(recipe_file, "methods")["model"]["init_args"]["objective"]
    recipe, training = record.recipe, record.training
    if recipe is None or recipe.class_path != section["class_path"] or (training and training.resumed_with):
        return False
    wanted = {**(section.get("init_args") or {}), **arguments}
    data = ((training.config if training else None) or {}).get("data", {}).get("init_args") or {}
    return "base" not in data and _agrees(recipe.init_args or {}, wanted)


def _agrees(mine: Any, wanted: Any) -> bool:
    """Whether an argument is as wanted, of what either says; a class is known by its own name."""
    if not (isinstance(mine, dict) and isinstance(wanted, dict)):
        return bool(mine == wanted)
    named = str(mine.get("class_path")).rpartition(".")[2] == str(wanted.get("class_path")).rpartition(".")[2]
    rest = [(key, value) for key, value in wanted.items() if key != "class_path"]
    return named and all(_agrees(mine.get(key, value), value) for key, value in rest)


@dataclass(frozen=True)
class Gap:
    """A published accuracy, ours, and one standard error of their difference, as fractions."""

    published: float
    ours: float
    error: float

    @property
    def difference(self) -> float:
        """Ours − published."""
        return self.ours - self.published

    @property
    def errors(self) -> float:
        """The difference in standard errors."""
        return self.difference / self.error


@dataclass(frozen=True)
class Match:
    """A row and an entry that fits it: the accuracies that both have."""

    row: Row
    entry: Entry

    @cached_property
    def gaps(self) -> dict[str, Gap]:
        """By attack; without robust ones where a check of the row failed."""
        ours = {name: _accuracies(self.row, name) for name in self.entry.accuracy}
        return {name: self._gap(name, values) for name, values in ours.items() if values}

    def _gap(self, name: str, ours: Sequence[float]) -> Gap:
        """Images, seeds and the published number, added in squares; one seed has the published number's tolerance."""
        (mean, spread), published = mean_and_spread(ours), mean_and_spread(self.entry.accuracy[name])[0]
        seeds = self.entry.tolerance if spread is None else spread / sqrt(len(ours))
        images = mean * (1 - mean) / self.row.n
        return Gap(published, mean, sqrt(images + seeds**2 + self.entry.error(name) ** 2))

    def is_met(self, teacher: NetworkSpec | None) -> bool:
        """Whether ours, on all test images and from such a teacher, is within two standard errors in everything compared.

        AutoAttack is among that where it was published, else another attack. Seeds that lie far apart do not help: an error
        counts as at most that of images, one seed and one published number, each with the tolerance.
        """
        robust = {AUTOATTACK} if AUTOATTACK in self.entry.accuracy else self.entry.accuracy.keys() - {CLEAN}
        whole = all(record.limit is None for record in self.row.records)
        widest = sqrt(3) * self.entry.tolerance
        close = all(abs(gap.difference) <= MET * min(gap.error, widest) for gap in self.gaps.values())
        return whole and close and bool(robust & self.gaps.keys()) and self.entry.is_taught_by(teacher)


def entries() -> list[Entry]:
    """Every published number that comes with ard, in the order of the file."""
    tree = read_yaml(root() / PUBLISHED)
    numbers = [(table, number) for table in tree["tables"] for number in table.pop("numbers")]
    shared = {"networks": tree["networks"], "tolerance": tree["tolerance"]}
    return [entry_of({**table, **number}, **shared) for table, number in numbers]


def entry_of(said: dict[str, Any], *, networks: dict[str, dict[str, Any] | None], tolerance: float) -> Entry:
    """An entry as the file writes it: in percent, without what its table has for all of them."""
    made: dict[str, Any] = {
        "accuracy": {name: _fractions(value) for name, value in said["accuracy"].items()},
        "spread": {name: value / 100 for name, value in said.get("spread", {}).items()},
        "recipes": tuple(said["recipes"]),
        "eps": float(Radius(said.get("eps", "8/255"))),
    }
    return Entry(**{**said, **made, "networks": networks, "tolerance": tolerance / 100})


def matches(rows: Iterable[Row], known: Sequence[Entry]) -> list[Match]:
    """Each row with each entry that fits it and has an attack in common with it."""
    pairs = [Match(row, entry) for row in rows for entry in known if entry.fits(row)]
    return [pair for pair in pairs if any(name != CLEAN for name in pair.gaps) or set(pair.entry.accuracy) == {CLEAN}]


def met(found: Iterable[Match], rows: Sequence[Row]) -> list[Match]:
    """Those of them that are met; a teacher is known by its own record among the rows, or by the config of the run."""
    networks = {record.weights.sha256: record.model for row in rows for record in row.records}
    return [pair for pair in found if all(pair.is_met(_teacher_of(record, networks)) for record in pair.row.records)]


def _teacher_of(record: Record, networks: Mapping[str | None, NetworkSpec]) -> NetworkSpec | None:
    """The network that taught a run; one of no known class where neither a record nor the run's config names it."""
    if record.teacher is None or record.teacher in networks:
        return None if record.teacher is None else networks[record.teacher]
    section: Any = (record.training.config if record.training else None) or {}
    for key in ("model", "init_args", "teacher"):
        section = section.get(key) if isinstance(section, dict) else None
    said = section if isinstance(section, dict) else {}
    init_args = said.get("init_args")
    spec = NetworkSpec(class_path=str(said.get("class_path")), init_args=init_args if isinstance(init_args, dict) else {})
    return spec.innermost


def _fractions(percent: Any) -> tuple[float, ...]:
    return tuple(round(value / 100, 6) for value in (percent if isinstance(percent, list) else [percent]))


def _averaged(record: Record) -> bool | None:
    """Whether the evaluated weights are an average; None where their training is not known."""
    return None if record.training is None else bool(record.training.block.get("average"))


def _accuracies(row: Row, name: str) -> list[float]:
    """Ours, one a seed; none where not every seed was attacked so, or a check failed."""
    if name == CLEAN:
        return row.accuracies("clean")
    if row.warning:
        return []
    if name == AUTOATTACK:
        return row.numbers(lambda record: record.autoattack_acc)
    return row.numbers(lambda record: record.standalone.get(name))
