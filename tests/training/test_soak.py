"""Many short epochs: memory and file handles at the end are what they were after a third of them."""

import gc
import os

import pytest
from pytorch_lightning import Callback


class Gauge(Callback):
    """Resident memory, open file handles and living objects after every epoch."""

    def __init__(self):
        self.memory, self.handles, self.objects = [], [], []

    def on_train_epoch_start(self, *_):
        gc.collect()
        with open("/proc/self/statm") as file:
            self.memory.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
        self.handles.append(len(os.listdir("/proc/self/fd")))
        self.objects.append(len(gc.get_objects()) + gc.get_freeze_count())


@pytest.mark.slow
@pytest.mark.fault(42)
@pytest.mark.parametrize("epochs", [24, pytest.param(60, marks=pytest.mark.campaign)])
def test_memory_and_handles_are_flat(epochs, fit, tmp_path, observed):
    options = ["--model.init_args.training.average=0.99", "--data.init_args.crop_padding=1"]
    gc.freeze()  # what earlier tests left is neither looked at nor counted anew in every epoch
    fit(tmp_path, "ard", f"--trainer.max_epochs={epochs}", *options, callbacks=[gauge := Gauge()])
    assert len(gauge.memory) == epochs
    settled = epochs // 3
    assert gauge.memory[-1] <= 1.05 * gauge.memory[settled]
    assert gauge.handles[-1] == gauge.handles[settled]
    assert gauge.objects[-1] <= 1.01 * gauge.objects[settled]
    observed(f"{epochs} epochs: memory within 5 %, living objects within 1 % and as many open files as after {settled}")
