"""Attacks of a few steps each: what a suite does, tried in seconds, for the rehearsal of a study. They measure nothing."""

from dataclasses import replace
from pathlib import Path

from ard.artifacts.record import REHEARSED
from ard.core.errors import UserError
from ard.evaluation.adversaries import Adversary, GradientAdversary, Noise, Squares
from ard.evaluation.library_attacks import AutoAttackPart

STEPS = 2  # of a gradient attack, from each of its starts and towards each of its targets
SAMPLED = 1  # images for the checks that run the network again
QUERIES = 10  # of an attack without gradients
NOTE = f"{REHEARSED}: every attack had {STEPS} steps or {QUERIES} queries; these numbers are no result"
FOLDER = "-rehearsal"  # how the folder of a rehearsed study ends
MARK = "rehearsal.txt"  # and what lies in it


def rehearsed(adversary: Adversary) -> Adversary:
    """The same attack with a few steps or queries; one of a library that has no such setting here stays as it is."""
    if isinstance(adversary, GradientAdversary):
        attack = adversary.attack
        return replace(adversary, attack=attack.shortened(min(attack.steps, STEPS)))
    if isinstance(adversary, Squares):
        return replace(adversary, queries=min(adversary.queries, QUERIES))
    if isinstance(adversary, Noise):
        return replace(adversary, draws=min(adversary.draws, QUERIES))
    if isinstance(adversary, AutoAttackPart):
        return replace(adversary, iterations=STEPS, queries=QUERIES)
    return adversary


def check_place(weights: Path) -> None:
    """Raises UserError for weights outside a study's rehearsal, where a record of short attacks would be taken for one."""
    if not any(folder.name.endswith(FOLDER) and (folder / MARK).is_file() for folder in weights.absolute().parents):
        raise UserError(
            f"--rehearse: {weights} is no rehearsal of a study; expected `ard study NAME --rehearse`, which uses it"
        )
