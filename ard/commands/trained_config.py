"""The configuration beside a file of weights, where it is the one that these were trained with."""

from dataclasses import replace
from pathlib import Path

from ard.artifacts.card import Card
from ard.artifacts.facts import TrainingFacts, teacher_files
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
        known = dict(teacher_files(arguments, card.teachers))
        known |= {arguments["init"]: training.init} if training.init else {}
        changed = {RESUMED_WITH: list(training.resumed_with)} if training.resumed_with else {}
        config = essentials(resolved, known, look=False) | changed
    except (UserError, KeyError, TypeError, AttributeError):  # not a configuration of ours
        return training
    return replace(training, config=config) if digest_of(config) == training.config_digest else training
