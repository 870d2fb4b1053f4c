"""Singular values and ranks of each layer."""

from collections.abc import Iterator
from math import prod
from statistics import fmean

import torch
from torch import Tensor

from ard.diagnostics.base import Found, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.layers import Layer, layers_of

EXACT = "as a circular convolution on the grid of its input"


@diagnostic(
    tells="by how much each layer can enlarge a pattern, and in how many directions it carries one",
    cannot="rank students: lower rank went with more robustness in one small check, and against it in the paper; the edge "
    "of an image is not as computed, and a depthwise layer has one channel a group",
    source="arXiv:1910.00359, spectra after arXiv:1805.10408",
    runs="always",
)
def spectra(of: Inspected) -> Found:
    """σ of the matrix of each layer, BatchNorm folded in; a convolution has one matrix a frequency, a group a block of it.

    A layer's numbers: the largest σ; the effective rank exp(H(σ² / Σσ²)) and the stable rank Σσ² / max σ², of the matrix
    at each frequency and averaged over frequencies by their energy Σσ²; and the rank it could have, `full`. From 1, or 0 for
    a layer of zeros, to `full`. With a stride, frequencies that fall together are one matrix.
    """
    layers = {layer.name: _numbers(layer) for layer in layers_of(of.student, of.x[:1]) if not layer.norm}
    largest = torch.tensor([numbers["largest singular value"] for numbers in layers.values()])
    values = {"largest singular value, median layer": float(largest.median())} | {
        f"{rank}, mean share of full": fmean(numbers[rank] / numbers["full"] for numbers in layers.values())
        for rank in ("effective rank", "stable rank")
    }
    return Found(values=values, layers=layers, settings={"a convolution": EXACT}, n=0)


def _numbers(layer: Layer) -> dict[str, float]:
    squares, counts = squared_singular_values(layer)
    squares = squares.double()
    energy = squares.sum(dim=1)
    tiny = torch.finfo(torch.float64).tiny
    effective = torch.special.entr(squares / energy[:, None].clamp_min(tiny)).sum(dim=1).exp()
    stable = energy / squares.amax(dim=1).clamp_min(tiny)
    weight = counts * energy
    total = weight.sum().clamp_min(tiny)
    return {
        "largest singular value": float(squares.max().sqrt()),
        "effective rank": float((weight * effective).sum() / total),
        "stable rank": float((weight * stable).sum() / total),
        "full": float(squares.shape[1]),
    }


def squared_singular_values(layer: Layer) -> tuple[Tensor, Tensor]:
    """σ² of a layer's matrix at each frequency, shape (frequencies, full), and how often each frequency counts.

    A kernel of one pixel has the same matrix everywhere. A real kernel has equal σ at opposite frequencies, so that half of
    the rows are computed.
    """
    if layer.weight.shape[2:] == (1, 1):  # with a stride, s² copies of W / s stand side by side: the same σ
        squares = _squares(_blocks(layer)[None, ..., 0, 0])
        return squares, torch.ones(1, dtype=torch.float64, device=squares.device)
    rows, columns = _after(layer)
    parts = [_squares(matrix) for matrix in _matrices(layer, rows, columns)]
    once = {0, rows // 2} if rows % 2 == 0 else {0}
    counts = torch.tensor([1.0 if row in once else 2.0 for row in range(len(parts))], dtype=torch.float64)
    return torch.cat(parts), counts.repeat_interleave(columns).to(layer.weight.device)


def _after(layer: Layer) -> tuple[int, int]:
    """Height and width of the grid after the stride."""
    rows, columns = (-(-size // stride) for size, stride in zip(layer.grid, layer.stride, strict=True))
    return rows, columns


def _blocks(layer: Layer) -> Tensor:
    """W as (groups, out / groups, in / groups, height, width)."""
    return layer.weight.unflatten(0, (layer.groups, -1))


def _matrices(layer: Layer, rows: int, columns: int) -> Iterator[Tensor]:
    """The matrices (columns, groups, out / groups, s² in / groups) of each row of frequencies, down to the middle one.

    Not by an FFT of the kernel, which would cut off a kernel that is larger than its grid: e^{−2πi f·p} is summed over its
    pixels p.
    """
    (down_stride, across_stride), kernel = layer.stride, layer.weight.shape[2:]
    down = _waves(rows * down_stride, kernel[0], layer.dilation[0], layer.weight.device)
    across = _waves(columns * across_stride, kernel[1], layer.dilation[1], layer.weight.device)
    wide = torch.einsum("goiab,yb->ygoia", _blocks(layer).to(torch.complex64), across)
    for row in range(rows // 2 + 1):
        met = torch.einsum("ygoia,xa->xygoi", wide, down[row::rows])  # frequencies that the stride makes one
        met = met.unflatten(1, (across_stride, columns)).permute(2, 3, 4, 0, 1, 5)
        yield met.flatten(3) / prod(layer.stride) ** 0.5


def _waves(size: int, kernel: int, dilation: int, device: torch.device) -> Tensor:
    """e^{−2πi f p / size} for every frequency f and place p = 0, d, 2d … of the kernel; shape (size, kernel)."""
    places = torch.outer(torch.arange(size, device=device), dilation * torch.arange(kernel, device=device)) % size
    return torch.polar(torch.ones(places.shape, device=device), -2 * torch.pi * places / size)


def _squares(matrices: Tensor) -> Tensor:
    """σ² of matrices (frequencies, groups, out, in), those of all groups of a frequency in a row."""
    if matrices.shape[-2] > matrices.shape[-1]:
        matrices = matrices.mT
    if matrices.shape[-2] == 1:
        return matrices.abs().square().sum(dim=(-2, -1))
    gram = matrices @ matrices.mH
    return torch.linalg.eigvalsh(gram).clamp_min(0).flatten(1)
