"""Marks that would lie upon one another are moved a little, so that each is seen."""

from collections.abc import Sequence

import numpy as np

RINGS = (1.15, 1.7, 2.3, 3.0)  # in distances that two marks must keep
ANGLES = np.pi * np.array([0, 1, 0.5, 1.5, 0.25, 0.75, 1.25, 1.75])  # aside first


def apart(points: np.ndarray, distance: float) -> np.ndarray:
    """Places (n, 2) for marks at points (n, 2), no two of them closer than `distance` where there is room nearby.

    The first marks stay where they are; one that would cover an earlier one goes to the nearest free place on rings around
    its point. All in the same unit, such as pixels.
    """
    placed: list[np.ndarray] = []
    for later, point in enumerate(points, 1):
        if not _is_free(point, placed, distance):
            taken = [*placed, *points[later:]]  # those still to come want their own points
            rings = (point + distance * ring * _direction(angle) for ring in RINGS for angle in ANGLES)
            point = next((place for place in rings if _is_free(place, taken, distance)), point)
        placed.append(point)
    return np.array(placed).reshape(-1, 2)


def _direction(angle: float) -> np.ndarray:
    return np.array([np.cos(angle), np.sin(angle)])


def _is_free(place: np.ndarray, taken: Sequence[np.ndarray], distance: float) -> bool:
    return all(np.hypot(*(place - other)) >= distance for other in taken)
