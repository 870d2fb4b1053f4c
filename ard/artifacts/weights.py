"""Reading and writing weights: safetensors and weights_only alone."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ard.artifacts.tensors import read_plain
from ard.core.errors import UserError
from ard.core.files import existing, write_whole
from ard.core.text import first_line

State = dict[str, Tensor]

# A Lightning checkpoint of ours holds the averaged student beside the raw one: the averaged one was selected.
SECTIONS = ("average.module.", "student.")


def save_weights(path: Path, network: nn.Module | State, card: dict[str, Any]) -> None:
    """Write weights with `card` (class_path, init_args, num_classes, ...) as metadata; replaces `path` atomically."""
    state = network if isinstance(network, dict) else network.state_dict()
    data = save({name: value.contiguous().cpu() for name, value in state.items()}, {"model": json.dumps(card)})
    write_whole(path, data)


def read_weights(path: str | Path) -> tuple[State, dict[str, Any]]:
    """State dict and card (empty where there is none) of a safetensors file, a Lightning checkpoint or a state dict."""
    path = existing(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_plain(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}; expected a state dict")
    state = next((content[key] for key in ("state_dict", "model") if key in content), content)
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__} where its state dict should be")
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    return _section(tensors), _card(content.get("ard", {}), path)


def card_of(path: str | Path) -> dict[str, Any]:
    """The card alone, without reading the weights."""
    path = existing(path)
    return _read_safetensors(path, tensors=False)[1] if path.suffix == ".safetensors" else read_weights(path)[1]


def _read_safetensors(path: Path, *, tensors: bool = True) -> tuple[State, dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            card = _card(json.loads((file.metadata() or {}).get("model", "{}")), path)
            return {key: file.get_tensor(key) for key in file.keys()} if tensors else {}, card  # noqa: SIM118
    except UserError:
        raise
    except (SafetensorError, ValueError, OSError, RecursionError, AttributeError) as error:
        raise UserError(f"{path} ({path.stat().st_size} bytes) is not a safetensors file: {first_line(error)}") from error


def _card(card: Any, path: Path) -> dict[str, Any]:
    if not isinstance(card, dict):
        raise UserError(f"{path} describes its network by a {type(card).__name__}; expected a mapping")
    return card


def _section(state: State) -> State:
    for section in SECTIONS:
        part = {key.removeprefix(section): value for key, value in state.items() if key.startswith(section)}
        if part:
            return part
    return state
