"""The name of a run: written into its folder when it begins, read when its weights are evaluated.

A study writes its own name, the method, the role and the swept setting; a run without a study is named for the file of its
recipe. The name holds for the configuration whose digest it carries, and for no other that is trained in the same folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ard.artifacts.card import Card
from ard.artifacts.paths import BEST, RunFolder
from ard.artifacts.record_parts import RunInfo
from ard.artifacts.typed_json import OMITTED, from_tree, own_digest, parsed, written
from ard.core.files import small_text, write_whole


@dataclass(frozen=True, kw_only=True)
class RunName:
    """A run's name, the digest of the configuration that it names, and in a file the digest of all this."""

    study: str | None
    method: str
    role: Literal["student", "teacher"]
    swept: dict[str, float]
    config_digest: str
    digest: str | None = field(default=None, metadata=OMITTED)


def row_name(method: str, swept: Mapping[str, float]) -> str:
    """What tables call the runs of a method with these swept settings."""
    return "-".join([method, swept_words(swept)]) if swept else method


def swept_words(settings: Mapping[str, float]) -> str:
    """What names of rows and folders call settings: lr-0.1 of model.init_args.training.lr."""
    return "-".join(f"{key.rpartition('.')[2]}-{value:g}" for key, value in settings.items())


def write_run_name(folder: RunFolder, name: RunName) -> None:
    """Write the name into the run's folder."""
    write_whole(folder.name, written(replace(name, digest=own_digest(name))))


def read_run_name(folder: RunFolder, config_digest: str) -> RunName | None:
    """The name in a run's folder; None where there is none or a damaged one, or it is that of another configuration."""
    try:
        name: RunName = from_tree(RunName, parsed(small_text(folder.name)))
    except (OSError, KeyError, ValueError):
        return None
    whole = name.digest in (None, own_digest(name))  # earlier versions wrote none
    return replace(name, digest=None) if whole and name.config_digest == config_digest else None


def method_of(configs: Sequence[str | Path], objective: str) -> str:
    """The method of a run without a study: the file of its recipe, the last of base and method.

    Where none says so, as config.yaml of another run does not, the class of the objective.
    """
    names = [name for path in configs if (name := Path(path).stem) != RunFolder(Path()).config.stem]
    return (names or [objective.rpartition(".")[2]])[-1]


def run_of(weights: Path, card: Card) -> RunInfo | None:
    """Which run a file of weights is of; None where neither its card nor its folder says so."""
    training = card.training
    name = None if training is None else read_run_name(RunFolder(weights.parent), training.config_digest)
    if training is None or name is None:
        return None
    selected = not training.of_last_epoch if weights.suffix == ".safetensors" else weights.stem == BEST
    return RunInfo(
        study=name.study,
        method=name.method,
        role=name.role,
        checkpoint="best" if selected else "last",
        seed=training.seed,
        swept=name.swept,
        teachers=card.teachers,
    )
