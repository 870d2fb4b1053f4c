"""Training images lie on a GPU that has room for them."""

import pytest
import torch
from graph_double import nobody_waits
from torch._subclasses.fake_tensor import FakeTensorMode

from ard.data import Digits
from ard.data.loading import MemoryImages


@pytest.mark.parametrize(("free", "workers", "stays"), [(1 << 30, 0, False), (10, 0, True), (1 << 30, 1, True)])
def test_images_lie_on_a_gpu_that_has_room_for_them(monkeypatch, free, workers, stays):
    """The GPU is a stand-in: what counts is that both splits share one copy, and when there is none."""
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (free, free))
    moved, data, gpu = [], Digits(), torch.device("cuda")
    assert data.splits
    monkeypatch.setattr(torch.Tensor, "to", lambda self, device: moved.append(device) or self.clone())
    data.workers = workers
    train, val = (data._placed(split, gpu) for split in data.splits)
    assert moved == ([] if stays else [gpu])
    assert train.images.pixels is val.images.pixels
    assert (train.images is data.splits[0].images) == stays
    assert torch.equal(train.__getitems__([3, 1])[0], data.splits[0].__getitems__([3, 1])[0])
    assert data._placed(data.splits[0], torch.device("cpu")) is data.splits[0]


def test_a_batch_of_images_on_a_gpu_is_chosen_without_waiting(monkeypatch):
    """Its indices are copied from pinned memory; labels stay, and go with the batch."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    with FakeTensorMode(), nobody_waits():
        held = MemoryImages(torch.empty(9, 1, 8, 8, dtype=torch.uint8, device="cuda"), torch.arange(9))
        pixels, labels = held.__getitems__([3, 1])
    assert (pixels.device.type, labels.device.type, len(pixels)) == ("cuda", "cpu", 2)
