"""`ard verify`."""

from pathlib import Path

from ard.artifacts.paths import weights_file
from ard.cli.quick_imports import quick_imports
from ard.cli.refusals import check_config, check_weights
from ard.core.terminal import say

DISPROVED = 4  # the exit status for images that do not prove their claim, as of an evaluation that is unreliable


def verify_images(file: str, weights: str, data: str | None = None, network: str | None = None) -> int:
    """Check stored adversarial images against weights and data, in this fresh process: ball, range, labels, verdicts.

    Args:
        file: what `ard evaluate --save-adversarial` wrote.
        weights: the weights they were made for, a file or a run's folder.
        data: a config with a `data:` section; by default what the weights were trained on.
        network: a network that is not ours: its class path, a YAML file {class_path, init_args}, or a run's config.yaml.
    """
    check_weights(weights)
    check_config(data, needs="data")
    with quick_imports():
        from ard.commands.verify_file import verify_file

    claim, wrong = verify_file(Path(file), Path(weights_file(weights)), data, network)
    say(f"{file}: {claim}: {'; '.join(wrong) or 'every image, label and verdict holds'}")
    return DISPROVED if wrong else 0
