"""Arrays as images that stand inside the page."""

import base64
import io

import numpy as np
from PIL import Image

LARGEST = 96  # pixels of the longer side: a gallery shows images small


def data_uri(pixels: np.ndarray) -> str:
    """An image (C, H, W) or (H, W) of uint8 as the address of a PNG that is the image itself; of other than 1 or 3
    channels the mean is shown."""
    if pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels.mean(axis=0).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def levels(pixels: np.ndarray) -> np.ndarray:
    """Pixels in [0, 1] as levels of 8 bits."""
    return (np.clip(np.nan_to_num(pixels), 0, 1) * 255).round().astype(np.uint8)


def thinned(pixels: np.ndarray) -> np.ndarray:
    """An image (C, H, W) of at most LARGEST pixels a side: every k-th pixel, so that a perturbation does not average out."""
    step = -(-max(pixels.shape[-2:]) // LARGEST)
    return pixels[..., ::step, ::step]


def magnified(perturbation: np.ndarray, largest: float) -> np.ndarray:
    """A perturbation as levels: no change is grey, `largest` is white and its opposite black."""
    return levels(0.5 + perturbation / (2 * largest)) if largest else levels(np.full(perturbation.shape, 0.5))


def heat(values: np.ndarray) -> str:
    """A table of numbers as an image, the smallest dark and the largest bright; the first row is at the top."""
    import matplotlib

    low, high = float(values.min()), float(values.max())
    shares = (values - low) / (high - low) if high > low else np.zeros(values.shape)
    colours = matplotlib.colormaps["viridis"](shares, bytes=True)[..., :3]
    return data_uri(np.moveaxis(colours, -1, 0))
