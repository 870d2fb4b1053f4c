"""Digits that somebody prepared wrongly."""

from ard.data import Digits
from ard.data.loading import MemoryImages


class Bright(Digits):
    """Floats that nobody divided by 255."""

    def training_images(self):
        images = super().training_images()
        return MemoryImages(images.pixels.float(), images.labels)


class Standardised(Digits):
    """Floats of mean 0 and standard deviation 1, normalised in the wrong place."""

    def training_images(self):
        images = super().training_images()
        pixels = images.pixels.float()
        return MemoryImages((pixels - pixels.mean()) / pixels.std(), images.labels)


class Shifted(Digits):
    """Labels that count from 1."""

    def training_images(self):
        images = super().training_images()
        return MemoryImages(images.pixels, images.labels + 1)
