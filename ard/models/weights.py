"""Reading and writing weights: safetensors and weights_only alone, every parameter filled or an error."""

import hashlib
import importlib
import json
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ard.errors import UserError
from ard.files import write_whole
from ard.models.building import bounded, interchangeable
from ard.models.plain import existing, first_line, read_plain
from ard.models.wrappers import Network

State = dict[str, Tensor]

# A Lightning checkpoint of ours holds the averaged student beside the raw one: the averaged one was selected.
SECTIONS = ("average.module.", "student.")
PREFIXES = ("module.", "model.", "student.", "_orig_mod.")


def save_weights(path: Path, network: nn.Module | State, card: dict[str, Any]) -> None:
    """Write weights with `card` (class_path, init_args, num_classes, ...) as metadata; replaces `path` atomically."""
    state = network if isinstance(network, dict) else network.state_dict()
    data = save({name: value.contiguous().cpu() for name, value in state.items()}, {"model": json.dumps(card)})
    write_whole(path, data)


def load(path: str | Path, network: Network | None = None) -> nn.Module:
    """The network whose weights lie at `path`, in eval mode: pixels in [0, 1] in, logits out.

    Classes under `ard.models` are rebuilt from the file's own card; for anything else pass `network`, because a name
    read from a file is never imported. Raises UserError when the file is missing, foreign, or does not fill everything.
    """
    state, card = read_weights(path)
    named = network is not None
    if network is None:
        if not card:
            raise UserError(f"{path} does not say which network it is for: name one (`network:`)")
        try:
            network = network_of(card, path)
        except RecursionError as error:
            raise UserError(f"{path} describes networks inside networks without end") from error
    num_classes = card.get("num_classes") or _guess_classes(state, path)
    most = () if named else (10 * len(state) + 1000, 10 * Path(path).stat().st_size + 10**7)  # what fits the file has fewer
    try:
        with bounded(*most):
            model = network(num_classes=num_classes)
    except Exception as error:  # whatever a constructor says to arguments that a file made up
        what = f"the network named for {path}" if named else f"{path} describes a network that"
        raise UserError(f"{what} cannot be built: {first_line(error)}") from error
    fill(model, state, card, path)
    return model.eval()


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


def network_of(card: dict[str, Any], path: str | Path) -> Network:
    """The factory that a card describes; refuses every class that is not one of ours."""
    init_args = card.get("init_args") or {}
    if not isinstance(init_args, dict):
        raise UserError(f"{path} describes a network with arguments {init_args!r}; expected a mapping")
    return partial(_our_class(card.get("class_path"), path), **_build_args(init_args, path))


def fill(model: nn.Module, state: State, card: dict[str, Any], path: str | Path) -> None:
    """Load `state` into `model` after stripping the usual prefixes; anything missing or left over is an error."""
    state = _strip(state, model.state_dict())
    wrong = mismatch(state, model.state_dict())
    if wrong:
        raise UserError(f"{_origin(state, card, path)} does not fit {_public_name(model)}: {wrong}")
    model.load_state_dict(state)


def _origin(state: State, card: dict[str, Any], path: str | Path) -> str:
    """The file, and what its card says it is for; without a card its size."""
    if isinstance(card.get("class_path"), str):
        return f"{path} is for {card['class_path']} and"
    return f"{path} holds {sum(value.numel() for value in state.values()):,} numbers in {len(state):,} tensors and"


def _public_name(model: nn.Module) -> str:
    """ard.models.ResNet, as configs name it."""
    package = type(model).__module__
    return f"{'ard.models' if package.startswith('ard.models.') else package}.{type(model).__name__}"


def mismatch(state: State, expected: State) -> str:
    """What keeps `state` from filling all that is expected, by the first names; empty where nothing does."""
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    if missing or unexpected:
        return (
            f"{len(expected) - len(missing)} of {len(expected)} tensors found; missing: "
            f"{', '.join(missing[:3]) or 'none'}; unexpected: {', '.join(unexpected[:3]) or 'none'}"
        )
    for key, value in expected.items():
        found = state[key]
        if found.shape != value.shape:
            return f"{key} is {tuple(found.shape)} in the file, {tuple(value.shape)} in the network"
        if not interchangeable(found, value):
            return f"{key} holds no plain numbers of {value.dtype}, but {found.dtype}, {found.layout}"
    return ""


def sha256(path: str | Path) -> str:
    """Hex digest of a file; raises UserError where there is none."""
    with open(existing(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_safetensors(path: Path, *, tensors: bool = True) -> tuple[State, dict[str, Any]]:
    try:
        with safe_open(path, "pt") as file:
            card = _card(json.loads((file.metadata() or {}).get("model", "{}")), path)
            return {key: file.get_tensor(key) for key in file.keys()} if tensors else {}, card  # noqa: SIM118
    except UserError:
        raise
    except (SafetensorError, ValueError, OSError, RecursionError, AttributeError) as error:
        raise UserError(f"{path} ({path.stat().st_size} bytes) is not a safetensors file: {first_line(error)}") from error


def _our_class(class_path: Any, path: str | Path) -> Any:
    models = importlib.import_module("ard.models")
    package, _, name = str(class_path).rpartition(".")
    known = package.split(".")[:2] == ["ard", "models"] and name in models.__all__
    cls = getattr(models, name) if known else None
    if not (isinstance(cls, type) and issubclass(cls, nn.Module) and "num_classes" in signature(cls).parameters):
        raise UserError(f"{path} asks for {class_path}, which is not a network of ard.models: pass the network yourself")
    return cls


def _build_args(init_args: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """Nested class_path entries (a network inside Normalized) become factories under the same rule.

    Weights follow, so nothing `pretrained` is fetched first.
    """
    nested = {key: value for key, value in init_args.items() if isinstance(value, dict) and "class_path" in value}
    fetched = {key: False for key in init_args if key == "pretrained"}
    return init_args | fetched | {key: network_of(value, path) for key, value in nested.items()}


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


def _strip(state: State, expected: State) -> State:
    """Remove a prefix that all keys share, from the front only, as long as the keys do not fit."""
    while state and not set(state) & set(expected):
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None)
        if prefix is None:
            return state
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _guess_classes(state: State, path: str | Path) -> int:
    """Without a card: the rows of the last matrix, which in every usual classifier is the head."""
    matrices = [value for value in state.values() if value.ndim == 2]
    if not matrices:
        raise UserError(f"{path} holds no linear layer to read the number of classes from")
    return len(matrices[-1])
