"""RankMax and RankMin: after chosen epochs the singular values of the student's convolutions are clipped, or set to 0."""

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.ranges import above
from ard.models.layers import layers_in_order
from ard.objectives.base import Composed, Objective, Pair, RunFacts
from ard.objectives.pgd_at import PGDAT


class RankProjection(Composed):
    """RankMax and RankMin, Goldblum et al., ICLR 2020, arXiv:1910.00359, by the spectra of Sedghi et al., ICLR 2019.

    Both losses are those of `base`. After the last step of some epochs every convolution but the first is projected: its
    kernel (out, in, k, k) becomes by FFT, on the grid (height, width) of its input, a matrix (out, in) at each frequency; of
    their singular values those above `clip_above` become that (RankMax, a flatter spectrum), those below `zero_below`
    become 0 (RankMin); back in pixels the kernel is cropped to k × k, so that the projection is exact for 1×1 alone. A
    grouped convolution is a kernel a group, and a stride counts as 1.

    Frozen weights and the zeros of a pruned start stay as they are.

    The released code takes grids of 56 to 7 pixels for images of 32 and leaves shortcuts out, which are not told from other
    convolutions here. The values are those of W, as in that code, without the BatchNorm behind it.

    Args:
        base: The method; PGD-AT by default.
        clip_above: Above 0; the paper's code has 1.5. None: nothing is clipped.
        zero_below: At least 0, and 0 changes nothing; the paper's code has 0.5.
        after: After which shares of the run's epochs, each in (0, 1]; the paper's code projects after 15, 30 and 40 of 100.
            None: after every epoch.

    Raises:
        UserError: For numbers out of range, and for a student without convolutions.
    """

    counts_epochs = True

    def __init__(
        self,
        *,
        base: Objective | None = None,
        clip_above: float | None = 1.5,
        zero_below: float = 0.0,
        after: Sequence[float] | None = (0.15, 0.3, 0.4),
    ) -> None:
        super().__init__(base or PGDAT())
        above(0, clip_above=clip_above)
        if not 0 <= zero_below < (clip_above or inf):
            raise UserError(f"zero_below = {zero_below}: expected at least 0, below clip_above = {clip_above}")
        if after is not None and not all(0 < share <= 1 for share in after):
            raise UserError(f"after = {list(after)}: expected shares of the epochs in (0, 1], such as 0.5")
        self.clip_above, self.zero_below, self.after = clip_above, zero_below, after
        self.follows_progress = after is not None
        self.grids: list[tuple[str, int, int]] = []  # of the inputs of all convolutions but the first
        self.batches, self.ends = 0, set[int]()

    def setup(self, run: RunFacts) -> None:
        met = {layer.name: layer for layer in layers_in_order(run.student, run.image_shape)}
        convolutions = [layer for layer in met.values() if isinstance(layer.layer, nn.Conv2d)]
        if not convolutions:
            raise UserError(f"{type(run.student).__name__} has no Conv2d: expected convolutions, whose ranks these are")
        self.grids = [(layer.name, *layer.given.shape[-2:]) for layer in convolutions[1:]]
        every = range(1, run.max_epochs + 1)
        self.ends = set(every) if self.after is None else {max(1, round(share * run.max_epochs)) for share in self.after}
        self.batches = run.batches

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        return self.base(student, teacher, x, y)

    @torch.no_grad()
    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:  # noqa: ARG002
        if self.step.batch != self.batches - 1 or self.step.epoch + 1 not in self.ends:
            return
        for name, *grid in self.grids:
            layer: nn.Conv2d = student.get_submodule(name)  # type: ignore[assignment]
            layer.weight.copy_(projected(layer.weight, grid, layer.groups, self.clip_above, self.zero_below))


def projected(
    weight: Tensor, grid: Sequence[int], groups: int = 1, clip_above: float | None = None, zero_below: float = 0.0
) -> Tensor:
    """A kernel of shape (out, in / groups, k, k) with its singular values on a grid moved into bounds, as RankProjection."""
    sizes = weight.shape[-2:]
    grid = [1, 1] if sizes == (1, 1) else [max(given, size) for given, size in zip(grid, sizes, strict=True)]
    kernels = weight.unflatten(0, (groups, -1)).float()
    matrices = torch.fft.rfft2(kernels, s=grid).permute(0, 3, 4, 1, 2)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    values = torch.where(values < zero_below, 0.0, values.clamp(max=inf if clip_above is None else clip_above))
    moved = (left * values[..., None, :] @ right).permute(0, 3, 4, 1, 2)
    return torch.fft.irfft2(moved, s=grid)[..., : sizes[0], : sizes[1]].flatten(0, 1).to(weight.dtype)
