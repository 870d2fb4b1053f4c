"""The networks that steps are timed on: as they are born, and as users have them, trained."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.randomness import keyed_generator
from ard.core.terminal import say
from ard.data import Digits
from ard.models import MobileNetV2, ResNet, WideResNet, load
from ard.training.trainer import has_bfloat16

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MobileNetV2": lambda: MobileNetV2(num_classes=10),
    "ResNet-18": lambda: ResNet(num_classes=10),
    "WRN-34-10": lambda: WideResNet(num_classes=10, depth=34, widen=10),
}
STEPS, BATCH, LR = 12, 16, 0.05  # until BatchNorm's statistics are those of the images, and weights have moved

NetworkNamed = Callable[[str], nn.Module]  # a name of NETWORKS -> a network of its own


def fresh(name: str) -> nn.Module:
    """As it is born, from equal seeds."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return NETWORKS[name]()


class Trained:
    """Networks whose statistics and weights are those of training: read from files, else trained for a moment on digits.

    A step on one is that of a run which was resumed: what it begins with was there before the process.

    Raises UserError for a file with a network of another shape.
    """

    def __init__(self, files: Sequence[Path], device: torch.device) -> None:
        self.device, self.known, self.files = device, {}, files
        for file in files:
            network = load(file)
            names = [name for name in NETWORKS if _shapes(fresh(name)) == _shapes(network)]
            if not names:
                raise UserError(f"{file}: its network is none of those that are timed; expected {', '.join(NETWORKS)}")
            self.known[names[0]] = network

    def __call__(self, name: str) -> nn.Module:
        if name not in self.known:
            say(f"{name}: {STEPS} steps on digits", error=True)
            self.known[name] = _trained(fresh(name), self.device)
        return copy.deepcopy(self.known[name])

    @property
    def about(self) -> str:
        """For the record."""
        files = ", ".join(file.name for file in self.files)
        return f"{files + ', others ' if files else ''}{STEPS} steps on digits of 32×32"


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def _trained(network: nn.Module, device: torch.device) -> nn.Module:
    """A few steps on clean images."""
    network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9)
    images = Digits().training_images()
    x, y = (torch.as_tensor(part) for part in (images.pixels, images.labels))
    half = partial(torch.autocast, device.type, torch.bfloat16, enabled=has_bfloat16(device.type))
    for step in range(STEPS):
        chosen = torch.randint(len(y), (BATCH,), generator=keyed_generator("cpu", "trained", step))
        with half():
            loss = F.cross_entropy(network(_enlarged(x[chosen]).to(device)), y[chosen].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.cpu()


def _enlarged(pixels: Tensor) -> Tensor:
    x = F.interpolate(pixels.float() / 255, size=32, mode="bilinear").expand(-1, 3, -1, -1)
    return x.contiguous(memory_format=torch.channels_last)
