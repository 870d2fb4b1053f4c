"""Teachers: pretrained networks that are never trained."""

import copy
import warnings
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from ard.artifacts.paths import weights_file
from ard.artifacts.tensors import digest_of_tensors
from ard.artifacts.weights import read_stored
from ard.core.errors import UserError
from ard.core.files import sha256
from ard.models.building import check_answers, choose_memory_format, copyable, is_steady
from ard.models.loading import network_with
from ard.models.wrappers import Network


class Frozen(nn.Module):
    """A pretrained network that is never in `parameters()`, a checkpoint or train mode, and passes input gradients.

    Pixels (batch, channels, H, W) in, logits (batch, C) out. The file is read by `load`, when training starts, so that
    validation and export do not need it.
    Raises UserError when the file does not fit or its number of classes is not the data's.

    Args:
        weights: A run's folder, or a file of weights: of ours, a Lightning checkpoint or a plain state dict.
        network: The network they are for, where the file does not say it.
    """

    def __init__(self, *, weights: str = "", network: Network | None = None) -> None:
        super().__init__()
        self.weights = weights_file(weights)
        self._factory, self._option = network, "network"
        self._held: list[nn.Module] = []  # a list hides the network from parameters(), state_dict() and train()
        self.given: list[nn.Module] = []  # a network that needs no file; hidden likewise

    @classmethod
    def of(cls, network: nn.Module) -> Self:
        """A teacher that is a network of this program; it is frozen as it stands: eval mode, no gradient of its weights."""
        teacher = cls(weights=f"{type(network).__name__} in memory")
        teacher.given = [network]
        return teacher

    def load(self, *, num_classes: int, input_shape: tuple[int, ...], option: str = "weights") -> Self:
        """Read the file once, and try one image: shape errors belong before training, not into it."""
        if not self.weights:
            short = "--teacher FILE, in full " if option == "--model.teacher.weights" else ""
            raise UserError(f"a teacher without weights: add {short}{option} FILE")
        if not self._held:
            self._option = f"{option.removesuffix('weights')}network"
            network = (self.given[0] if self.given else self.read(num_classes)).eval()
            for parameter in network.parameters():  # requires_grad_ refuses what torch.jit.script made
                parameter.requires_grad_(False)
            if not self.given:
                choose_memory_format(network, input_shape)
            check_answers(network, input_shape, num_classes, f"teacher {self.weights}")
            if not is_steady(network, input_shape):
                again = "in eval mode, too: dropout that is not switched off? F.dropout(x, training=self.training)"
                warnings.warn(f"teacher {self.weights} answers otherwise each time it is asked, {again}", stacklevel=1)
            self._held.append(network)
        return self

    def check_there(self) -> None:
        """Raises UserError where `read` could not give the network, as far as that is known without reading anything."""
        if self.weights and not self.given and not Path(self.weights).is_file():
            raise UserError(f"teacher {self.weights}: no such file; expected its weights")

    def read(self, num_classes: int) -> nn.Module:
        """The network with its weights, from its file; `num_classes` where that does not say how many there are."""
        stored = read_stored(self.weights)
        if "sha256" in vars(self) and self.sha256 != stored.sha256:
            raise UserError(f"{self.weights} was replaced while the run began: expected one teacher; start it again")
        self.sha256 = stored.sha256
        return network_with(stored, self.weights, self._factory, option=self._option, num_classes=num_classes)

    @property
    def files(self) -> dict[str, str]:
        """The SHA-256 of each file that was read, by its path."""
        return {} if self.given else {self.weights: self.sha256}

    @property
    def single_teachers(self) -> "list[Frozen]":
        """The teachers of one network each that this one is made of."""
        return [self]

    @property
    def loaded(self) -> bool:
        """Whether the weights have been read."""
        return bool(self._held)

    @property
    def networks(self) -> list[nn.Module]:
        """The networks that answer, once their weights have been read."""
        return [one for held in self._held for one in (held.networks if isinstance(held, Frozen) else [held])]

    @cached_property
    def sha256(self) -> str:
        """Digest of the file of weights, of the bytes that were read once they were; without a file, of the network."""
        if not self.given:
            return sha256(self.weights)
        network = self.given[0]
        return digest_of_tensors(dict([*network.named_parameters(), *network.named_buffers()]), "")

    def learner(self) -> nn.Module:
        """A copy of the network whose parameters may learn."""
        return copy.deepcopy(copyable(self._held[0])).requires_grad_(True)

    def forward(self, x: Tensor) -> Tensor:
        if not self._held:
            raise RuntimeError(f"the teacher {self.weights} was asked before it was loaded")
        return self._held[0](x.contiguous() if self.given else x)  # one that came as it is may call `view`

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for network in self._held:
            network._apply(fn)
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def teacher_of(given: Frozen | nn.Module | str | Path | None) -> Frozen:
    """A teacher as methods of several take it: itself, a network of this program, its file; None: one to be named yet.

    Raises UserError for anything else.
    """
    if given is None or isinstance(given, str | Path):
        return Frozen(weights=str(given or ""))
    if not isinstance(given, nn.Module):
        raise UserError(f"teacher {given!r}: expected an nn.Module, a file of weights, or ard.models.Frozen")
    return given if isinstance(given, Frozen) else Frozen.of(given)
