"""Training images lie on a GPU that has room for them."""

import pytest
import torch

from ard.data import Digits


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
    assert train.images is val.images
    assert (train.images is data.splits[0].images) == stays
    assert torch.equal(train.__getitems__([3, 1])[0], data.splits[0].__getitems__([3, 1])[0])
    assert data._placed(data.splits[0], torch.device("cpu")) is data.splits[0]
