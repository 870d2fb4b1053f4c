"""A callback for a process of its own: in the middle of the run, the process through which wandb works is killed."""

import os
import signal
from pathlib import Path

from pytorch_lightning import Callback


class KillsWandb(Callback):
    """After the first step."""

    def on_train_batch_end(self, *_):
        if self.trainer_step == 0:
            for pid in wandb_processes():
                os.kill(pid, signal.SIGKILL)
        self.trainer_step += 1

    trainer_step = 0


def wandb_processes():
    """The children of this process that are wandb's."""
    for folder in Path("/proc").glob("[0-9]*"):
        stat = (folder / "stat").read_text()
        if "wandb-core" in stat and int(stat.rpartition(")")[2].split()[1]) == os.getpid():
            yield int(folder.name)
