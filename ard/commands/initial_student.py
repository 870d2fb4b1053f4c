"""A student before its training: drawn anew from the seed of its run."""

from typing import Any

import torch
from torch import nn

from ard.commands.subject import Subject
from ard.commands.trained_config import training_with_config
from ard.core.errors import UserError
from ard.core.randomness import key_seed
from ard.models.building import choose_memory_format
from ard.models.loading import network_of


def initial_student(subject: Subject) -> nn.Module | None:
    """The student at the start of its training, bit for bit; None where that cannot be known.

    It is known of networks of ours that began with random weights: as the configuration beside the weights says, if it is
    the one that was trained.
    """
    card, training = subject.card, training_with_config(subject.weights, subject.card)
    if training is None or training.config is None or card.network is None or card.num_classes is None:
        return None
    if training.config["model"]["init_args"].get("init") or _fetched(card.network):
        return None
    try:
        network = network_of(card.network, subject.weights, "")
    except UserError:  # a network from elsewhere, which --network named
        return None
    with torch.random.fork_rng([]):
        torch.manual_seed(key_seed("student", training.seed))  # as the engine does
        student = network(num_classes=card.num_classes).eval()  # so that BatchNorm counts no image
    choose_memory_format(student, subject.data.input_shape)
    return student.to(subject.x.device)


def _fetched(tree: Any) -> bool:
    """Whether a network begins with the weights of some library."""
    return isinstance(tree, dict) and (bool(tree.get("pretrained")) or any(_fetched(value) for value in tree.values()))
