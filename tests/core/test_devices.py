"""Which GPU a process takes."""

import pytest
import torch

from ard.core.devices import take_gpu


@pytest.mark.parametrize(("there", "place", "taken"), [(4, 0, [0]), (4, 3, [3]), (4, 5, [1]), (1, 1, []), (0, 1, [])])
def test_processes_take_one_gpu_after_the_other(there, place, taken, monkeypatch):
    said = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(torch.cuda, "set_device", said.append)
    take_gpu(place)
    assert said == taken
