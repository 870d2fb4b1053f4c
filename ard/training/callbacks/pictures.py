"""Pictures of a run for loggers that take them: validation images before and after their attack, and accuracy's path."""

from collections.abc import Sequence
from io import BytesIO

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ard.artifacts.metrics import Validation
from ard.core.pixels import levels_of

SIDE = 64  # pixels of an image in the grid, about
GAP = 2  # pixels around it


def attacked_images(x: Tensor, x_adv: Tensor, eps: float) -> Image.Image:
    """One column an image: as it is, attacked, and the difference around grey, as large as the range of pixels allows.

    Args:
        x: Images in [0, 1], shape (count, channels, height, width).
        x_adv: The same, attacked.
        eps: The radius; in the supremum norm the difference then reaches from black to white.
    """
    change = (0.5 + (x_adv - x) / (2 * eps)).clamp(0, 1)
    shown = slice(0, 3 if x.shape[1] >= 3 else 1)  # of other channels than colours
    large = [interpolate(images[:, shown], scale_factor=max(1, SIDE // x.shape[-1])) for images in (x, x_adv, change)]
    rows = [torch.cat([pad(image, (GAP,) * 4, value=1.0) for image in images], dim=2) for images in large]
    grid = torch.cat(rows, dim=1).expand(3, -1, -1)
    return Image.fromarray(levels_of(grid).permute(1, 2, 0).cpu().numpy())


def trade_off(validations: Sequence[Validation], best: Validation) -> Image.Image:
    """Accuracy under attack against clean accuracy, epoch by epoch; the selected one is a star."""
    clean, robust = ([100 * getattr(one, name) for one in validations] for name in ("clean_acc", "robust_acc"))
    figure = Figure(figsize=(5, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(clean, robust, color="0.7", linewidth=1, zorder=1)
    points = axes.scatter(clean, robust, c=[one.epoch for one in validations], s=14, zorder=2)
    axes.scatter([100 * best.clean_acc], [100 * best.robust_acc], marker="*", s=160, color="tab:red", zorder=3)
    axes.set(xlabel="clean accuracy, %", ylabel="accuracy under attack, %", title=f"validation; star: epoch {best.epoch}")
    figure.colorbar(points, label="epoch", ticks=MaxNLocator(integer=True))
    file = BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")
