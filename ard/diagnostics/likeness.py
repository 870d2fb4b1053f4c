"""How alike the layers of a teacher and of its student are: correlations of nodes and linear CKA, in one pass of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ard.diagnostics.activations import ActivatedLayer, activated_layers, activations
from ard.diagnostics.base import NotApplicableError
from ard.diagnostics.inspected import Inspected
from ard.models.combined_teachers import Ensemble

MOST = 250  # images that pass a network at once
HELD = 6e7  # numbers of both networks' layers that are held at once: 240 MB
DEAD = 1e-10  # a node whose variance is below this share of its layer's largest says the same to all images

INPUTS: dict[str, Callable[[Inspected], Tensor]] = {
    "clean": lambda of: of.x,
    "attacked": lambda of: of.attacked,
    "noise": lambda of: of.noisy,
}


@dataclass(frozen=True)
class LayerLikeness:
    """A layer of the teacher and its student's: numbers for each teacher node that is alive.

    Attributes:
        name: Of both layers.
        best: max_k rho_jk, the correlation of teacher node j with the student node that matches it best.
        shuffled: The same where the student sees other images than the teacher: what is found without any likeness.
        strength: The fan-out norm of the teacher node times its standard deviation, so that no rescaling of a layer changes
            it; None where no layer reads the nodes directly.
        cka: Linear CKA, ‖cov(t, s)‖² / (‖cov(t)‖ ‖cov(s)‖), from 0 to 1.
        cka_shuffled: The same where the student sees other images.
    """

    name: str
    best: Tensor
    shuffled: Tensor
    strength: Tensor | None
    cka: float
    cka_shuffled: float


@dataclass(frozen=True)
class LayerPair:
    """A layer of the teacher and the layer of the student that it is compared with, over a grid of `size`."""

    teacher: ActivatedLayer
    student: ActivatedLayer

    @property
    def size(self) -> tuple[int, int]:
        """The smaller height and the smaller width of the two."""
        (a, b), (c, d) = self.teacher.size, self.student.size
        return min(a, c), min(b, d)


def layer_likeness(of: Inspected, kind: str) -> list[LayerLikeness]:
    """The likeness of every layer of the teacher, on one of INPUTS; measured once, whoever asks.

    A sample is an image at a position: (images · height · width) of them a layer. Layers without a live node are left out.
    Raises NotApplicableError where the teacher is several networks, or a network hides its layers.
    """
    return of.once(f"likeness {kind}", lambda: _measured(of, INPUTS[kind](of)))


def paired(teacher: Sequence[ActivatedLayer], student: Sequence[ActivatedLayer]) -> list[LayerPair]:
    """For each layer of the teacher the student's of the same size, or else of any, that is nearest in relative depth."""
    pairs = []
    for one in teacher:
        same = [layer for layer in student if layer.size == one.size] or student
        depth = _depth(one, teacher)
        pairs.append(LayerPair(one, min(same, key=lambda layer: abs(_depth(layer, student) - depth))))
    return pairs


def _depth(layer: ActivatedLayer, layers: Sequence[ActivatedLayer]) -> float:
    """0 for the first of them, 1 for the last."""
    return layer.place / max(1, len(layers) - 1)


def _measured(of: Inspected, x: Tensor) -> list[LayerLikeness]:
    pairs = of.once("paired layers", lambda: _pairs(of))
    networks: list[nn.Module] = [of.student, of.teacher]  # type: ignore[list-item]  # the runner asks for a teacher
    moments = [_Moments() for _ in pairs]
    order = torch.randperm(len(x), generator=of.generator("likeness"), device=x.device)
    for (block,) in of.track(list(of.blocks(x[order], size=_at_a_time(pairs))), "layers of student and teacher"):
        ours = activations(networks[0], block, {pair.student.place for pair in pairs})
        theirs = activations(networks[1], block, {pair.teacher.place for pair in pairs})
        for pair, moment in zip(pairs, moments, strict=True):
            moment.add(
                *(F.adaptive_avg_pool2d(maps, pair.size) for maps in (theirs[pair.teacher.place], ours[pair.student.place]))
            )
    return [found for pair, moment in zip(pairs, moments, strict=True) if (found := moment.likeness(pair))]


def _pairs(of: Inspected) -> list[LayerPair]:
    if of.teacher is None or isinstance(of.teacher, Ensemble):
        raise NotApplicableError("it compares layers with those of one teacher: give one of the ensemble's members")
    return paired(activated_layers(of.teacher, of.x[:2]), activated_layers(of.student, of.x[:2]))


def _at_a_time(pairs: Sequence[LayerPair]) -> int:
    layers = [layer for pair in pairs for layer in (pair.teacher, pair.student)]
    numbers = sum(layer.channels * layer.size[0] * layer.size[1] for layer in layers)
    return max(2, min(MOST, int(HELD / numbers)))


@dataclass
class _Moments:
    """Sums over samples of the teacher's nodes t and the student's s, both about their means in the first block."""

    n: int = 0
    shifts: tuple[Tensor, ...] = ()
    sums: list[Tensor] = field(default_factory=list)  # of t, s, t tᵀ, s sᵀ, t sᵀ, and t sᵀ with s of another image

    def add(self, teacher: Tensor, student: Tensor) -> None:
        """Maps (n, channels, height, width) of the same images and size."""
        shown = [_points(teacher), _points(student), _points(student.roll(1, dims=0))]
        self.shifts = self.shifts or (shown[0].mean(dim=0), shown[1].mean(dim=0))
        t, s, other = (points - shift for points, shift in zip(shown, (*self.shifts, self.shifts[1]), strict=True))
        sums = [t.sum(dim=0), s.sum(dim=0), t.T @ t, s.T @ s, t.T @ s, t.T @ other]
        self.sums = (
            [a + b.double() for a, b in zip(self.sums, sums, strict=True)] if self.sums else [b.double() for b in sums]
        )
        self.n += len(t)

    def likeness(self, pair: LayerPair) -> LayerLikeness | None:
        t, s, tt, ss, ts, shuffled = (total / self.n for total in self.sums)
        tt, ss, ts, shuffled = (a - torch.outer(b, c) for a, b, c in ((tt, t, t), (ss, s, s), (ts, t, s), (shuffled, t, s)))
        live, theirs = _alive(tt), _alive(ss)
        if not (live.any() and theirs.any()):
            return None
        deviations = torch.outer(tt.diag()[live].sqrt(), ss.diag()[theirs].sqrt())
        best, by_chance = ((cov[live][:, theirs] / deviations).amax(dim=1) for cov in (ts, shuffled))
        fan_out = pair.teacher.fan_out
        return LayerLikeness(
            name=f"{pair.teacher.name} / {pair.student.name}",
            best=best,
            shuffled=by_chance,
            strength=None if fan_out is None else fan_out[live].double() * tt.diag()[live].sqrt(),
            cka=float(ts.square().sum() / (tt.norm() * ss.norm())),
            cka_shuffled=float(shuffled.square().sum() / (tt.norm() * ss.norm())),
        )


def _points(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _alive(covariance: Tensor) -> Tensor:
    """Which nodes vary; one that is no number counts as alive, so that it is found out."""
    variance = covariance.diag()
    return ~(variance <= DEAD * variance.max())
