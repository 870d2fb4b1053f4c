"""What Windows does not have is not needed: every module is imported, and a run's files are written, without it.

It cannot be tried here; a process from which these names are taken is the nearest to it.
"""

import os
import pkgutil
import signal
import sys
from importlib import import_module

from prepared import start, statuses

MODULES = ("fcntl", "resource", "termios", "pwd", "grp")
OF_OS = ("uname", "sysconf", "sched_getaffinity", "posix_fadvise", "posix_fallocate", "fork", "getuid", "killpg", "setsid")
SIGNALS = ("SIGUSR1", "SIGUSR2", "SIGKILL", "SIGHUP", "SIGALRM", "SIGQUIT", "SIGCHLD", "SIGPIPE", "alarm", "setitimer")


def as_on_windows():
    for owner, names in ((os, OF_OS), (signal, SIGNALS)):
        for name in names:
            if hasattr(owner, name):
                delattr(owner, name)
    for name in [*MODULES, *(name for name in sys.modules if name.partition(".")[0] == "ard")]:
        sys.modules.pop(name, None)
    sys.modules.update(dict.fromkeys(MODULES))  # an import of None fails
    os.link = _no_links


def _no_links(*_):
    raise OSError("a disk of FAT")


def import_everything():
    import ard

    for module in pkgutil.walk_packages(ard.__path__, "ard."):
        if module.name != "ard.__main__":
            import_module(module.name)


def use(folder):
    """In the folder of a run: the lock, a reservation, two checkpoints, blocks of an evaluation, a network in its bounds."""
    from pathlib import Path

    from ard.core.files import write_whole
    from ard.core.locks import alone
    from ard.evaluation.blocks import Store
    from ard.models import ResNet
    from ard.models.building import bounded
    from ard.training.callbacks.signals import STATUS
    from ard.training.checkpoints import AtomicCheckpointIO
    from ard.training.room import check_room
    from ard.training.trainer import check_processes

    run = Path(folder, "run")
    with alone(run), bounded():
        network = ResNet(num_classes=2, width=2, blocks=[1])
        check_room(run, network)
        check_processes(1, "cpu")
        for _ in range(2):  # the second keeps the first as previous.ckpt
            AtomicCheckpointIO().save_checkpoint({"state_dict": network.state_dict()}, run / "last.ckpt")
        write_whole(run / "metrics.csv", "epoch\n")
        store = Store(run / ".blocks")
        store.open()
        with store.alone() as unfinished:
            assert unfinished
            store.remove()
    assert set(STATUS) == {signal.SIGTERM, signal.SIGINT}


def windows(folder):
    as_on_windows()
    import_everything()
    use(folder)
    return 0


def test_nothing_needs_what_windows_does_not_have(tmp_path):
    words = tmp_path / "words.txt"
    assert statuses(start(windows, tmp_path, words=words)) == [0], words.read_text()
    checkpoints = [f"{name}.ckpt{end}" for name in ("last", "previous") for end in ("", ".sha256")]
    assert {file.name for file in (tmp_path / "run").iterdir()} == {*checkpoints, "metrics.csv"}
