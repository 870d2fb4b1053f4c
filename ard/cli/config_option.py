"""`-c` and `--config`: configs by path or by name."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ard.configs.catalogue import OF_A_RUN, find
from ard.configs.files import base_and_method

OPTIONS = ("-c", "--config")


def with_files(words: Sequence[str]) -> list[str]:
    """The words of a run, each config after a -c of its own, with paths that can be opened."""
    return [str(find(word, *OF_A_RUN)) if before == "-c" else word for before, word in pairwise(["", *words])]


def default_folder(configs: Sequence[str | Path], seed: int) -> str:
    """Where a run is written that names no folder: checkpoints/<base>/<method>/seed<k>."""
    names = [Path(config).stem for config in base_and_method(configs)] or ["fit"]
    return "/".join(["checkpoints", *names, f"seed{seed}"])
