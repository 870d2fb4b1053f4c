"""Balls, the attacks that search inside them, and the guard around an attack."""

from ard.attacks.attacking import attacking, frozen_mode
from ard.attacks.balls import L2, Ball, Linf
from ard.attacks.base import Attack, AttackFactory, ascent
from ard.attacks.gradient import FGSM, NFGSM, PGD, UnstuckPGD

__all__ = [
    "FGSM",
    "L2",
    "NFGSM",
    "PGD",
    "Attack",
    "AttackFactory",
    "Ball",
    "Linf",
    "UnstuckPGD",
    "ascent",
    "attacking",
    "frozen_mode",
]
