"""Data modules: uint8 in memory, float in [0, 1] on the device."""

from ard.data.base import DataModule, to_pixels
from ard.data.digits import Digits

__all__ = ["DataModule", "Digits", "to_pixels"]
