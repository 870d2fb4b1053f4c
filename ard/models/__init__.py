"""Networks, pixels in and logits out, and everything about their weights."""

from ard.models.cached import Cached
from ard.models.combined_teachers import Ensemble
from ard.models.frozen import Frozen
from ard.models.loading import load
from ard.models.mobilenet import MobileNetV2
from ard.models.narrowed import Narrowed
from ard.models.resnet import ResNet
from ard.models.robustbench import RobustBench
from ard.models.wide_resnet import WideResNet
from ard.models.wrappers import Network, Normalized, Timm, Torchvision

__all__ = [
    "Cached",
    "Ensemble",
    "Frozen",
    "MobileNetV2",
    "Narrowed",
    "Network",
    "Normalized",
    "ResNet",
    "RobustBench",
    "Timm",
    "Torchvision",
    "WideResNet",
    "load",
]
