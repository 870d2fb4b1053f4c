"""Node alignment: a term for any method with a teacher, whose hidden nodes the student's nodes are to go along with."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ard.core.errors import UserError
from ard.core.ranges import at_least
from ard.losses import at_least_float32
from ard.models.frozen import Frozen
from ard.models.layers import Met, layers_in_order, layers_met
from ard.objectives.base import Composed, Objective, Pair, RunFacts
from ard.objectives.rslad import RSLAD

DEAD = 1e-6  # the variance, in units of the largest of its layer, below which a node counts as constant
SMALL = 1e-10  # is added to a variance


class NodeAlignment(Composed):
    """The node correlation of Yang et al., AISTATS 2021, arXiv:2102.13170, as a term to be raised; they only measure it.

    Attack loss: that of `base`.
    Training loss: that of `base` + λ mean_l (1 − mean_j max_k ρ_jk), a scalar in [0, 2 λ]. ρ_jk is the Pearson correlation,
    over images x' and places, of the teacher's node j and the student's node k of the pair of layers l; no gradient
    reaches the teacher, nor nodes that do not move.

    The nodes are what a convolution or linear layer is given, so channels after activations and sums; the images themselves
    do not count. What a shortcut's layer is given counts once more where that layer runs after its block, as in
    ard.models.ResNet, and not where it runs just before. Layers are paired by their share of the depth, the last ones with
    each other; of two grids the larger is pooled to the smaller. A linear layer's grid is one pixel. Where the student has
    fewer nodes than the teacher, some share the same one. On several devices each has the correlations of its own images.
    Costs another pass of both networks over x', so that the student's BatchNorm sees x' twice.

    Args:
        base: The method; RSLAD by default.
        strength: λ, at least 0.
        layers: How many pairs, at least 1.

    Raises:
        UserError: For numbers out of range, a student or teacher without a hidden layer, a teacher of several networks.
    """

    def __init__(self, *, base: Objective | None = None, strength: float = 1.0, layers: int = 3) -> None:
        super().__init__(base or RSLAD())
        at_least(0, strength=strength)
        at_least(1, layers=layers)
        self.needs_teacher, self.asks_only_x = True, False
        self.strength, self.layers = strength, layers

    def setup(self, run: RunFacts) -> None:
        networks = {"the student": run.student} | ({} if run.teacher is None else {"the teacher": _network(run.teacher)})
        for name, network in networks.items():
            if not _hidden(layers_in_order(network, run.image_shape)):
                raise UserError(f"{name} has one layer: expected hidden layers, whose nodes can be compared")

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:
        attack_loss, training_loss = self.base(student, self.base.wanted_teacher(teacher), x, y)

        def aligned(x_adv: Tensor) -> dict[str, Tensor]:
            terms = training_loss(x_adv)
            with torch.no_grad(), layers_met(_network(teacher)) as met:
                teacher(x_adv)
            theirs = _hidden(met)
            if not theirs:
                raise UserError("the teacher looked its answer up: expected ard.models.Frozen, whose nodes can be seen")
            with layers_met(student) as met:
                student(x_adv)
            pairs = zip(self._spread(_hidden(met)), self._spread(theirs), strict=True)
            with torch.autocast(x.device.type, enabled=False):  # half the digits are no correlation
                apart = torch.stack([1 - best_match(ours, wanted) for ours, wanted in pairs])
            return self.with_own(terms, nodes=self.strength * apart.mean())

        return attack_loss, aligned

    def _spread(self, nodes: list[Tensor]) -> list[Tensor]:
        """As many as there are pairs, evenly through the depth, the last one among them."""
        return [nodes[max(1, round(place * len(nodes) / self.layers)) - 1] for place in range(1, self.layers + 1)]


def best_match(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the teacher's nodes of the highest correlation with a node of the student, in [−1, 1]; a scalar.

    Args:
        student: Shape (batch, nodes, height, width) or (batch, nodes).
        teacher: The same batch, shape (batch, other nodes, ...).
    """
    student, teacher = _on_a_grid(student), _on_a_grid(teacher)
    rows, columns = (min(sizes) for sizes in zip(student.shape[2:], teacher.shape[2:], strict=True))
    ours, theirs = (_centred(_pooled(nodes, rows, columns)) for nodes in (student, teacher))
    variances = theirs.square().mean(dim=1)
    alive = variances > DEAD * variances.amax()
    highest = (_unit(theirs) @ _unit(ours).mT).amax(dim=1)
    return (highest * alive).sum() / alive.sum().clamp_min(1)


def _on_a_grid(nodes: Tensor) -> Tensor:
    """(batch, nodes), (batch, places, nodes) or (batch, nodes, height, width) -> the last of these, at least in float32."""
    nodes = at_least_float32(nodes)
    return nodes if nodes.ndim == 4 else nodes.flatten(1, -2).mT[..., None] if nodes.ndim > 2 else nodes[..., None, None]


def _pooled(nodes: Tensor, rows: int, columns: int) -> Tensor:
    """Averaged to a smaller grid, by products: the gradient of torch's own pooling gives other bits each time on CUDA."""
    for place, size in ((2, rows), (3, columns)):
        if nodes.shape[place] != size:
            whole = torch.eye(nodes.shape[place], dtype=nodes.dtype, device=nodes.device)
            nodes = (nodes.movedim(place, -1) @ F.adaptive_avg_pool1d(whole, size)).movedim(-1, place)
    return nodes


def _centred(nodes: Tensor) -> Tensor:
    """(batch, nodes, height, width) -> (nodes, batch · height · width), of mean 0 each."""
    rows = nodes.transpose(0, 1).flatten(1)
    return rows - rows.mean(dim=1, keepdim=True)


def _unit(rows: Tensor) -> Tensor:
    return rows / (rows.square().mean(dim=1, keepdim=True) + SMALL).sqrt() / rows.shape[1] ** 0.5


def _hidden(met: list[Met]) -> list[Tensor]:
    """What each layer but the first was given, once where the layer before it was given the same."""
    given = [layer.given for layer in met]
    return [now for before, now in pairwise(given) if now is not before]


def _network(teacher: nn.Module) -> nn.Module:
    """The network that a teacher hides from `modules()`."""
    if not isinstance(teacher, Frozen):
        return teacher
    if len(teacher.networks) != 1:
        raise UserError(f"a teacher of {len(teacher.networks)} networks: expected one, whose nodes can be compared")
    return teacher.networks[0]
