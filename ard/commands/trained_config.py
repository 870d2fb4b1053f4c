"""The configuration beside a file of weights, where it is the one that these were trained with."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ard.artifacts.card import Card
from ard.artifacts.facts import TrainingFacts, teachers_by_place
from ard.artifacts.paths import RunFolder
from ard.configs.files import read_yaml
from ard.core.errors import UserError
from ard.training.config_digest import RESUMED_WITH, digest_of, essentials


def training_with_config(weights: Path, card: Card) -> TrainingFacts | None:
    """What the card says of the training, with the configuration beside the weights where it is the one that was trained."""
    training, file = card.training, RunFolder(weights.parent).config
    if training is None or not file.is_file():
        return training
    try:
        resolved = read_yaml(str(file))
        arguments = resolved["model"]["init_args"]
        known = dict(_teachers_in(arguments, teachers_by_place(card.teacher, card.recipe)))
        known |= {arguments["init"]: training.init} if training.init else {}
        changed = {RESUMED_WITH: list(training.resumed_with)} if training.resumed_with else {}
        config = essentials(resolved, known, look=False) | changed
    except (UserError, KeyError, TypeError, AttributeError):  # not a configuration of ours
        return training
    return replace(training, config=config) if digest_of(config) == training.config_digest else training


def _teachers_in(arguments: dict[str, Any], teachers: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The path of each teacher in a configuration that is read from a file, with the hash that its weights had."""
    for place, sha256_then in teachers.items():
        node: Any = arguments
        for key in place.split("."):
            node = node[key]
        if "weights" in node["init_args"]:
            yield node["init_args"]["weights"], sha256_then
