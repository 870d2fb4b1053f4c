"""Random generators keyed by their purpose, so that a resumed run draws the same numbers as an uninterrupted one."""

import hashlib

import torch


def key_seed(*key: int | str) -> int:
    """The 63-bit seed that belongs to a key such as ("attack", seed, epoch, step, rank)."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def keyed_generator(device: torch.device | str, *key: int | str) -> torch.Generator:
    """A generator on `device` that depends on nothing but its key."""
    return torch.Generator(device).manual_seed(key_seed(*key))
