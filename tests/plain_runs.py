"""Networks, loaders and trainers as a Lightning user has them."""

import pytest
import pytorch_lightning as pl
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ard.data import Digits

PLAIN = [
    pytest.mark.filterwarnings("ignore:The .* does not have many workers"),
    pytest.mark.filterwarnings("ignore:Starting from v1.9.0, `tensorboardX` has been removed"),
    pytest.mark.filterwarnings("ignore:.*sampler.* has shuffling enabled"),
]
FOREIGN = pytest.mark.filterwarnings("ignore:loaders that are not of ard.data")
QUIET = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "enable_progress_bar": False}


class Net(nn.Module):
    """As people write them: the classes are in it, and `view` refuses another memory format."""

    def __init__(self, channels=1):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Linear(128, 10)

    def forward(self, x):
        h = self.norm(self.conv(x)).relu()
        return self.head(h.view(len(h), -1))


class Sized(Net):
    """Made for a number of classes, as `num_classes` says it."""

    def __init__(self, *, num_classes):
        super().__init__()
        self.head = nn.Linear(128, num_classes)


def digits(count, split=0, channels=1):
    x, y = Digits().splits[split].__getitems__(list(range(count)))
    return x.expand(-1, channels, -1, -1), y


def loader(count=96, split=0, change=lambda x: x, channels=1, **options):
    x, y = digits(count, split, channels)
    return DataLoader(TensorDataset(change(x), y), batch_size=32, **options)


def plain_trainer(epochs=1, **options):
    return pl.Trainer(max_epochs=epochs, accelerator="cpu", **{**QUIET, **options})


def fitted(module, *, change=lambda x: x, channels=1, trainer=None):
    trainer = trainer or plain_trainer()
    data = {"change": change, "channels": channels}
    trainer.fit(module, loader(**data, shuffle=True), loader(64, 1, **data))
    return trainer
