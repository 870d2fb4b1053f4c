"""`ard prune`: fewer weights; a misspelt way is refused before torch is imported."""

from dataclasses import dataclass

from ard.artifacts.paths import weights_file
from ard.cli.quick_imports import quick_imports
from ard.cli.refusals import check_data, check_weights
from ard.core.errors import UserError
from ard.pruning.names import check_way


@dataclass(frozen=True, kw_only=True)
class PruneRequest:
    """What to prune, and how; None stands for what the card of the weights says.

    Args:
        keep: share of the weights of convolutions and linear layers that stays; 1 prunes nothing, for --smaller.
        how: magnitude, random (any weight), fanout or dpp (whole channels, by images of training).
        teacher: weights whose nodes a channel should be like (fanout).
        smaller: cut out channels that are zero: fewer numbers and operations, the same answers.
        out: a folder, or a .safetensors file; by default a folder beside the run's.
        seed: of what is drawn: weights by random, places of images by dpp.
        data: a config with a `data:` section; by default what the weights were trained on.
        data_dir: the folder of the images, where they have moved.
        network: a network that is not ours: its class path, a YAML file {class_path, init_args}, or a run's config.yaml.
        limit: look at this many images of training, equally many a class; by default 1000; where there are fewer, at all.
        replace: overwrite a file that is there.
        allow_mismatch: allow other classes or sizes than the weights name.
    """

    keep: float = 0.5
    how: str = "magnitude"
    teacher: str | None = None
    smaller: bool = False
    out: str | None = None
    seed: int = 0
    data: str | None = None
    data_dir: str | None = None
    network: str | None = None
    limit: int | None = None
    replace: bool = False
    allow_mismatch: bool = False

    def check(self) -> None:
        """Raises UserError for options that do not fit one another; imports nothing for it."""
        check_way(self.how)
        if not (0 < self.keep < 1 or (self.keep == 1 and self.smaller)):
            raise UserError(
                f"--keep {self.keep:g}: expected a share of the weights between 0 and 1, such as 0.5, or 1 with --smaller"
            )
        if self.teacher is not None and self.how != "fanout":
            raise UserError(f"--teacher has no effect with --how {self.how}: add --how fanout")
        if self.limit is not None and self.limit < 2:
            raise UserError(f"--limit {self.limit}: expected at least 2 images")


def prune_weights(weights: str, request: PruneRequest) -> int:
    """Set weights of a trained network to zero; writes weights like any other.

    `ard fit --init FILE` trains on and keeps the zeros. Shapes stay, until --smaller cuts channels out.

    Args:
        weights: a file of weights, or a run's folder.
    """
    request.check()
    check_weights(weights, request.teacher)
    check_data(request.data)
    with quick_imports():
        from ard.commands.prune_file import prune_file

    prune_file(weights_file(weights), request)
    return 0
