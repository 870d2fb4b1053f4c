"""Verdicts of images as text: one bit an image, short enough to stand in a record."""

import base64

import numpy as np


def pack(bits: np.ndarray) -> str:
    """One bit an image, in the order of the data, as base64."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def unpack(text: str, n: int) -> np.ndarray:
    """The inverse of `pack`: a boolean array of n images; raises ValueError where `text` does not hold n images."""
    packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if len(packed) != (n + 7) // 8:  # unpackbits would pad with zeros: images that nobody evaluated, all wrong
        raise ValueError(f"{len(packed)} bytes of bits; expected {(n + 7) // 8} for {n} images")
    return np.unpackbits(packed, count=n).astype(bool)
