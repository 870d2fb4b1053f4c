"""`ard config`: a config as a start for one's own."""

from ard.configs.catalogue import find
from ard.core.terminal import hand_out


def print_config(name: str) -> int:
    """Print a config that comes with ard; `ard config methods/rslad > mine.yaml` makes a copy to change.

    Args:
        name: such as cifar10, pgd_at, methods/rslad or schedules/rslad; `ard list` shows them.
    """
    hand_out(find(name).read_text(encoding="utf-8"))
    return 0
