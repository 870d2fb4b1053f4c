"""From a file of weights to a network whose every parameter is filled."""

import importlib
import warnings
from collections.abc import Iterator
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ard.artifacts.card import Card
from ard.artifacts.paths import weights_file
from ard.artifacts.weights import State, StoredWeights, as_read, read_stored
from ard.core.contract import CONTRACT
from ard.core.errors import UserError
from ard.core.text import first_line
from ard.models.building import bounded, interchangeable
from ard.models.wrappers import Network

DEEPEST = 10  # names in front of all keys
COUNTERS = ("num_batches_tracked", "n_averaged", "total_ops", "total_params")  # of BatchNorm, averages and thop


def load(path: str | Path, network: Network | None = None, *, option: str = "--network") -> nn.Module:
    """The network whose weights lie at `path`, a file or a run's folder, in eval mode: pixels in [0, 1] in, logits out.

    Classes under `ard.models` are rebuilt from the file's own card; for anything else pass `network`, because a name
    read from a file is never imported; `option` is what a command line calls it. Raises UserError when the file is
    missing, foreign, or does not fill everything.
    """
    return network_with(read_stored(path), weights_file(path), network, option=option)


def network_with(
    stored: StoredWeights,
    path: str,
    network: Network | None,
    *,
    option: str = "--network",
    num_classes: int | None = None,
) -> nn.Module:
    """The network of weights that were read from `path`, as `load` makes it; `num_classes` is for those that do not say."""
    state, card = stored.state, stored.card
    given, way = network is not None, f"add {option}; {CONTRACT}"
    if network is None:
        if card.network is None:
            raise UserError(f"{path} does not say which network it is for: {way}")
        try:
            network = network_of(card.network, path, way)
        except RecursionError as error:
            raise UserError(f"{path} describes networks inside networks without end") from error
    num_classes = card.num_classes or _guess_classes(state, num_classes, path)
    most = () if given else (10 * len(state) + 1000, 10 * Path(path).stat().st_size + 10**7)  # what fits the file has fewer
    try:
        with bounded(*most):
            model = network(num_classes=num_classes)
    except Exception as error:  # whatever a constructor says to arguments that a file made up
        what = f"the network named for {path}" if given else f"{path} describes a network that"
        raise UserError(f"{what} cannot be built: {first_line(error)}") from error
    fill(model, state, card, path)
    return model.eval()


def network_of(spec: dict[str, Any], path: str | Path, way: str) -> Network:
    """The factory that {class_path, init_args} describe; refuses any class that is not ours; `way` is what to do."""
    init_args = spec.get("init_args") or {}
    if not isinstance(init_args, dict):
        raise UserError(f"{path} describes a network with arguments {init_args!r}; expected a mapping")
    return partial(_our_class(spec.get("class_path"), path, way), **_build_args(init_args, path, way))


def fill(model: nn.Module, state: State, card: Card, path: str | Path, *, any_head: bool = False) -> None:
    """Load `state` into `model`, or into the network that it wraps, whichever the names are those of.

    A name in front of all others, such as `module`, is stripped. Anything missing or left over is an error, but for counters
    that no answer depends on; with `any_head` a last layer for other classes is left as it is, and said to be.
    """
    fits = {inner: _strip(state, inner.state_dict()) for inner in _wrapped(model)}
    inner = max(fits, key=lambda inner: len(fits[inner].keys() & inner.state_dict().keys()))
    expected = inner.state_dict()
    state = {key: value for key, value in fits[inner].items() if key in expected or not _counts(key)}
    state |= _heads(state, expected, path) if any_head else {}
    needed = {key: value for key, value in expected.items() if key in state or not _counts(key)}
    if wrong := mismatch(state, needed) and mismatch(state, expected):
        raise UserError(f"{_origin(fits[inner], card, path)} does not fit {_public_name(model)}: {wrong}")
    inner.load_state_dict(expected | state)


def _wrapped(model: nn.Module) -> Iterator[nn.Module]:
    """The network and those inside it that have all its parameters, from the outermost."""
    everything = set(model.parameters())
    for inner in model.modules():
        if set(inner.parameters()) == everything:
            yield inner


def _heads(state: State, expected: State, path: str | Path) -> State:
    """What the network has in place of the tensors that are for another number of classes, and alike otherwise."""
    pairs = {key: (state[key], value) for key, value in expected.items() if key in state}
    other = {key: (a, b) for key, (a, b) in pairs.items() if a.shape != b.shape and a.ndim and b.ndim}
    rows = {(len(stored), len(ours)) for stored, ours in other.values()}
    if len(rows) != 1 or any(stored.shape[1:] != ours.shape[1:] for stored, ours in other.values()):
        return {}
    ((theirs, wanted),) = rows
    warnings.warn(f"{path} is for {theirs} classes, the data have {wanted}: {', '.join(other)} begin anew", stacklevel=1)
    return {key: ours for key, (_, ours) in other.items()}


def _counts(key: str) -> bool:
    return key.rpartition(".")[2] in COUNTERS


def check_export(network: nn.Module, name: str) -> None:
    """Raises UserError where the weights of a network could not be written to a file, or not be read back."""
    state = network.state_dict()
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise UserError(
                f"{name} keeps a {type(value).__name__} as {key}: expected tensors, which files of weights can hold"
            )
        if value.is_complex():
            raise UserError(f"{name} has complex numbers, {key}: expected real ones, torch.view_as_real makes two of each")
    if wrong := mismatch(as_read(state), state):
        raise UserError(f"{name} could be trained, but its weights could not be read from a file: {wrong}")


def _origin(state: State, card: Card, path: str | Path) -> str:
    """The file, and what its card says it is for; without a card its size."""
    if card.class_path is not None:
        return f"{path} is for {card.class_path} and"
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
        stored = state[key]
        if stored.shape != value.shape:
            return f"{key} is {tuple(stored.shape)} in the file, {tuple(value.shape)} in the network"
        if not interchangeable(stored, value):
            return f"{key} holds no plain numbers of {value.dtype}, but {stored.dtype}, {stored.layout}"
    return ""


def _our_class(class_path: Any, path: str | Path, way: str) -> Any:
    models = importlib.import_module("ard.models")
    package, _, name = str(class_path).rpartition(".")
    known = package.split(".")[:2] == ["ard", "models"] and name in models.__all__
    cls = getattr(models, name) if known else None
    if not (isinstance(cls, type) and issubclass(cls, nn.Module) and "num_classes" in signature(cls).parameters):
        raise UserError(f"{path} asks for {class_path}, which is not a network of ard.models: {way}")
    return cls


def _build_args(init_args: dict[str, Any], path: str | Path, way: str) -> dict[str, Any]:
    """Nested class_path entries (a network inside Normalized) become factories under the same rule.

    Weights follow, so nothing `pretrained` is fetched first.
    """
    nested = {key: value for key, value in init_args.items() if isinstance(value, dict) and "class_path" in value}
    fetched = {key: False for key in init_args if key == "pretrained"}
    return init_args | fetched | {key: network_of(value, path, way) for key, value in nested.items()}


def _strip(state: State, expected: State) -> State:
    """Remove the name that all keys share, from the front only, as long as the keys do not fit."""
    for _ in range(DEEPEST):
        prefix = f"{next((key for key in state if not _counts(key)), '').partition('.')[0]}."
        if set(state) & set(expected) or not all(key.startswith(prefix) or _counts(key) for key in state):
            return state
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _guess_classes(state: State, known: int | None, path: str | Path) -> int:
    """Without a card: as many as the data have, where some matrix has so many rows or there is none; else the rows of the
    last one, which in most classifiers is the head, unless the file has its names in another order."""
    rows = [len(value) for value in state.values() if value.ndim == 2]
    if known is not None and (known in rows or not rows):
        return known
    if not rows:
        first = ", ".join(list(state)[:3]) or "none"
        raise UserError(f"{path} holds no linear layer to read the number of classes from; its tensors: {first}")
    return rows[-1]
