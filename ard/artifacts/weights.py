"""Reading and writing weights: safetensors and weights_only alone."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, contiguous_format, nn

from ard.artifacts.card import Card, card_from
from ard.artifacts.checkpoint import check_beside
from ard.artifacts.paths import weights_file
from ard.artifacts.tensors import digest_of_tensors, plain_from, read_bytes
from ard.core.errors import UserError
from ard.core.files import existing, readable, write_whole
from ard.core.text import first_line

State = dict[str, Tensor]
CARD, DIGEST = "model", "digest"  # keys of a safetensors file's metadata; files of earlier versions have no digest
DAMAGED = (SafetensorError, ValueError, OSError, RecursionError, AttributeError, KeyError)

# A Lightning checkpoint of ours holds the averaged student beside the raw one: the averaged one was selected.
SECTIONS = ("average.module.", "student.")

# Where other programs put their state dict; the averaged one first, as timm's and torchvision's own evaluation takes it.
HOLDERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "net")


@dataclass(frozen=True)
class StoredWeights:
    """What a file of weights held when it was read: its tensors, its card, and the SHA-256 of those very bytes."""

    state: State
    card: Card
    sha256: str


def save_weights(path: Path, network: nn.Module | State, card: Card) -> None:
    """Write weights with their card and a digest of both as metadata; replaces `path` atomically."""
    state = separate(network if isinstance(network, dict) else network.state_dict())
    write_whole(path, save(state, {CARD: card.text, DIGEST: digest_of_tensors(state, card.text)}))


def separate(state: State) -> State:
    """Copies that share no memory, as one module under two names does, and as safetensors refuses it."""
    return {name: value.detach().cpu().clone(memory_format=contiguous_format) for name, value in state.items()}


def as_read(state: State) -> State:
    """What a file of these weights would give back; raises UserError where there can be none."""
    try:
        return load(save(separate(state)))
    except Exception as error:  # tensors that are sparse, quantised, or not there yet
        raise UserError(f"these weights cannot be written to a file: {first_line(error)}") from error


def read_weights(path: str | Path) -> tuple[State, Card]:
    """State dict and card of a file, see read_stored."""
    stored = read_stored(path)
    return stored.state, stored.card


def read_stored(path: str | Path) -> StoredWeights:
    """A safetensors file, a Lightning checkpoint or a state dict, read once; an empty card where there is none.

    `path` may be a run's folder: then its selected student. Raises UserError for what is no such file, and where its tensors
    or its card are not those that were written, if the file says what these were.
    """
    path = existing(weights_file(path))
    content = read_bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    check_beside(path, digest)
    read = _from_safetensors if path.suffix == ".safetensors" else _from_pickle
    return StoredWeights(*read(content, path), digest)


def card_of(path: str | Path) -> Card:
    """The card alone, without reading the weights."""
    path = existing(weights_file(path))
    if path.suffix != ".safetensors":
        return read_weights(path)[1]
    try:
        with readable(path), safe_open(path, "pt") as file:
            return card_from((file.metadata() or {}).get(CARD, "{}"), path)
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(_no_safetensors(path, error)) from error


def _from_safetensors(content: bytes, path: Path) -> tuple[State, Card]:
    try:
        state = load(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    except DAMAGED as error:
        raise UserError(_no_safetensors(path, error)) from error
    text = metadata.get(CARD, "{}")
    if DIGEST in metadata and metadata[DIGEST] != digest_of_tensors(state, text):
        raise UserError(
            f"{path} ({len(content)} bytes) is damaged: its tensors or its card are not those that were written; "
            "expected the digest in its header"
        )
    return state, card_from(text, path)


def _no_safetensors(path: Path, error: Exception) -> str:
    return f"{path} ({path.stat().st_size} bytes) is not a safetensors file: {first_line(error)}"


def _from_pickle(data: bytes, path: Path) -> tuple[State, Card]:
    content = plain_from(data, path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}; expected a state dict")
    tensors = _tensors(_state_in(content, path))
    larger = next((key for key, value in tensors.items() if value.numel() * value.element_size() > len(data)), None)
    if larger is not None:  # a view that repeats a few numbers, which a copy would write out
        raise UserError(f"{path}: {larger} is {tuple(tensors[larger].shape)}, which is more than the file holds")
    return _section(tensors), card_from(content.get("ard", {}), path)


def _state_in(content: dict[Any, Any], path: Path) -> dict[Any, Any]:
    """The state dict of a file: what one of HOLDERS is, the file itself, or its only mapping of tensors."""
    holding = [key for key, value in content.items() if isinstance(value, dict) and _tensors(value)]
    known = [key for key in HOLDERS if key in holding]
    if known:
        return content[known[0]]
    if _tensors(content):
        return content
    if len(holding) == 1:
        return content[holding[0]]
    keys = ", ".join(map(str, content)) or "none"
    raise UserError(f"{path} holds no state dict; expected one, or one under {', '.join(HOLDERS)}; its keys: {keys}")


def _tensors(state: dict[Any, Any]) -> State:
    return {str(key): value for key, value in state.items() if isinstance(value, Tensor)}


def _section(state: State) -> State:
    for section in SECTIONS:
        part = {key.removeprefix(section): value for key, value in state.items() if key.startswith(section)}
        if part:
            return part
    return state
