"""Data modules: uint8 in memory, float in [0, 1] on the device."""

from ard.data.base import DataModule, to_pixels
from ard.data.cifar import CIFAR10, CIFAR100
from ard.data.digits import Digits
from ard.data.image_folder import ImageFolder
from ard.data.known_labels import KnownLabels
from ard.data.mixed import Mixed
from ard.data.photos import Photos
from ard.data.random_images import RandomImages

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "DataModule",
    "Digits",
    "ImageFolder",
    "KnownLabels",
    "Mixed",
    "Photos",
    "RandomImages",
    "to_pixels",
]
