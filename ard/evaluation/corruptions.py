"""Common corruptions, measured beside the attacks: five of torchvision's, mild enough for a person to see the image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from ard.core.pixels import levels_of
from ard.evaluation.adversaries import Adversary


@dataclass(frozen=True, kw_only=True)
class Corruption(Adversary):
    """x' = corrupt(x), clamped to [0, 1]; not CIFAR-10-C, whose files carry fifteen of them at five strengths."""

    ball: None = None
    probe: bool = True
    corrupt: Callable[[Tensor, torch.Generator], Tensor]
    strength: float

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        return self.corrupt(x, generator).clamp(0, 1)

    @property
    def settings(self) -> dict[str, Any]:
        return {"corruption": self.name, "strength": self.strength}

    @property
    def passes(self) -> float:
        return 0.3


def corruptions() -> list[Corruption]:
    """Noise, blur, JPEG, brightness, contrast."""

    def noise(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + 0.08 * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)

    def jpeg(x: Tensor, _: torch.Generator) -> Tensor:
        levels = levels_of(x).cpu()
        images = levels if x.shape[1] in (1, 3) else levels.flatten(0, 1)[:, None]  # each channel as a grey image
        coded = torch.stack([F.jpeg(image, 58) for image in images]).reshape(x.shape)
        return coded.to(x.device, x.dtype) / 255

    return [
        Corruption(name="gaussian noise", strength=0.08, corrupt=noise),
        Corruption(name="gaussian blur", strength=0.7, corrupt=lambda x, _: F.gaussian_blur(x, [3, 3], [0.7, 0.7])),
        Corruption(name="JPEG", strength=58, corrupt=jpeg),
        Corruption(name="brightness", strength=0.15, corrupt=lambda x, _: x + 0.15),
        Corruption(name="contrast", strength=0.4, corrupt=_less_contrast),
    ]


def _less_contrast(x: Tensor, _: torch.Generator) -> Tensor:
    mean = x.mean(dim=(2, 3), keepdim=True)
    return mean + 0.4 * (x - mean)
