"""Networks, pixels in and logits out, and everything about their weights."""

from ard.models.cached import Cached
from ard.models.frozen import Frozen
from ard.models.mobilenet import MobileNetV2
from ard.models.resnet import ResNet
from ard.models.weights import load
from ard.models.wide_resnet import WideResNet
from ard.models.wrappers import Network, Normalized, Timm, Torchvision

__all__ = ["Cached", "Frozen", "MobileNetV2", "Network", "Normalized", "ResNet", "Timm", "Torchvision", "WideResNet", "load"]
