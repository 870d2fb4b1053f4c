"""Reading and writing weights: safetensors and weights_only alone."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ard.artifacts.card import Card, card_from
from ard.artifacts.paths import weights_file
from ard.artifacts.tensors import read_plain
from ard.core.errors import UserError
from ard.core.files import existing, write_whole
from ard.core.text import first_line

State = dict[str, Tensor]

# A Lightning checkpoint of ours holds the averaged student beside the raw one: the averaged one was selected.
SECTIONS = ("average.module.", "student.")


def save_weights(path: Path, network: nn.Module | State, card: Card) -> None:
    """Write weights with their card as metadata; replaces `path` atomically."""
    state = network if isinstance(network, dict) else network.state_dict()
    data = save({name: value.contiguous().cpu() for name, value in state.items()}, {"model": card.text})
    write_whole(path, data)


def read_weights(path: str | Path) -> tuple[State, Card]:
    """State dict and card of a safetensors file, a Lightning checkpoint or a state dict; an empty card if there is none.

    `path` may be a run's folder: then its selected student.
    """
    path = existing(weights_file(path))
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_plain(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}; expected a state dict")
    state = next((content[key] for key in ("state_dict", "model") if key in content), content)
    if not isinstance(state, dict):
        raise UserError(f"{path} holds a {type(state).__name__} where its state dict should be")
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    return _section(tensors), card_from(content.get("ard", {}), path)


def card_of(path: str | Path) -> Card:
    """The card alone, without reading the weights."""
    path = existing(weights_file(path))
    return _read_safetensors(path, tensors=False)[1] if path.suffix == ".safetensors" else read_weights(path)[1]


def _read_safetensors(path: Path, *, tensors: bool = True) -> tuple[State, Card]:
    try:
        with safe_open(path, "pt") as file:
            card = card_from((file.metadata() or {}).get("model", "{}"), path)
            return {key: file.get_tensor(key) for key in file.keys()} if tensors else {}, card  # noqa: SIM118
    except UserError:
        raise
    except (SafetensorError, ValueError, OSError, RecursionError, AttributeError) as error:
        raise UserError(f"{path} ({path.stat().st_size} bytes) is not a safetensors file: {first_line(error)}") from error


def _section(state: State) -> State:
    for section in SECTIONS:
        part = {key.removeprefix(section): value for key, value in state.items() if key.startswith(section)}
        if part:
            return part
    return state
