"""Networks for images (1, 8, 8) as people write them, each with one thing that trainers stumble over."""

import torch
from torch import nn


class Plain(nn.Module):
    """The one with nothing."""

    def __init__(self, *, num_classes: int = 10, channels: int = 1):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Linear(128, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().flatten(1))


class InPlace(Plain):
    """Normalises where the images lie."""

    def forward(self, x):
        return super().forward(x.sub_(0.5).div_(0.25))


class InPlaceWithoutGradient(Plain):
    """The same where torch says nothing of it."""

    def forward(self, x):
        with torch.no_grad():
            x.clamp_(0.2, 0.8)
        return super().forward(x)


class InPlaceSameValues(Plain):
    """Changes no pixel, but torch refuses it of images that need a gradient."""

    def forward(self, x):
        return super().forward(x.relu_())


class Twice(Plain):
    """One module under two names."""

    def __init__(self, *, num_classes: int = 10):
        super().__init__(num_classes=num_classes)
        self.layers = nn.ModuleList([self.conv, self.norm])


class View(Plain):
    """LeNet's way to flatten, which wants the usual memory format."""

    def forward(self, x):
        features = self.norm(self.conv(x)).relu()
        return self.head(features.view(features.size(0), -1))


class FiveDimensions(Plain):
    def __init__(self, *, num_classes: int = 10):
        super().__init__(num_classes=num_classes)
        self.deep = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, x):
        return super().forward(self.deep(x[:, None])[:, 0])


class Parametrised(Plain):
    def __init__(self, *, num_classes: int = 10, how: str = "spectral_norm", old: bool = False):
        super().__init__(num_classes=num_classes)
        self.conv = getattr(nn.utils if old else nn.utils.parametrizations, how)(self.conv)


class Lazy(Plain):
    def __init__(self, *, num_classes: int = 10):
        super().__init__(num_classes=num_classes)
        self.head = nn.LazyLinear(num_classes)


class Complex(Plain):
    def __init__(self, *, num_classes: int = 10):
        super().__init__(num_classes=num_classes)
        self.phase = nn.Parameter(torch.ones(8, 1, 1, dtype=torch.complex64))

    def forward(self, x):
        return self.head((self.norm(self.conv(x)) * self.phase).real.relu().flatten(1))


class Extra(Plain):
    """State of its own that is no tensor."""

    def get_extra_state(self):
        return {"version": 2}

    def set_extra_state(self, state):
        pass


class WithoutGradient(Plain):
    def forward(self, x):
        with torch.no_grad():
            return super().forward(x)


class WithoutBackbone(Plain):
    """Its last layer alone learns."""

    def forward(self, x):
        with torch.no_grad():
            features = self.norm(self.conv(x)).relu().flatten(1)
        return self.head(features)


class Auxiliary(Plain):
    """More than logits in train mode, as Inception has them: in a tuple, or as `kind` makes of them."""

    def __init__(self, *, num_classes: int = 10, kind: type = tuple):
        super().__init__(num_classes=num_classes)
        self.kind = kind

    def forward(self, x):
        logits = super().forward(x)
        if not self.training:
            return logits
        return (logits, logits) if self.kind is tuple else self.kind(logits=logits)
