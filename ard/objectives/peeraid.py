"""PeerAiD: the teacher is a peer that learns at the same time, from the images that are attacked to fool the student."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ard.core.ranges import above
from ard.losses import kl
from ard.models.building import another_network, get_ready
from ard.models.wrappers import Network
from ard.objectives.base import Objective, Pair, RunFacts


class PeerAiD(Objective):
    """PeerAiD, Jung et al., CVPR 2024: in the teacher's place a peer P that learns at the same time.

    Attack loss: KL(P(x) ‖ S(x')).
    Training loss: for the student, mean λ1 CE(S(x'), y) + λ2 t² KL(P(x')/t ‖ S(x')/t) + λ3 t² KL(S(x)/t ‖ S(x')/t), P(x')
    detached; for the peer, mean γ1 CE(P(x'), y) + γ2 t'² KL(S(x')/t' ‖ P(x')/t'). Both are minimised at once and S is
    detached nowhere, so the peer's loss moves the student too.

    Args:
        peer: The peer's network; by default another of the student's kind.
        lambdas: λ1, λ2, λ3.
        gammas: γ1, γ2.
        temperature: t.
        peer_temperature: t'.
        mean_over_classes: Whether to divide every KL by the number of classes, as the released code does.
    """

    labels = "soft"

    def __init__(
        self,
        *,
        peer: Network | None = None,
        lambdas: Sequence[float] = (0.0, 1.0, 1.0),
        gammas: Sequence[float] = (1.0, 0.1),
        temperature: float = 5.0,
        peer_temperature: float = 1.0,
        mean_over_classes: bool = False,
    ) -> None:
        super().__init__()
        above(0, temperature=temperature, peer_temperature=peer_temperature)
        self.factory, self.lambdas, self.gammas = peer, lambdas, gammas
        self.temperature, self.peer_temperature = temperature, peer_temperature
        self.mean_over_classes = mean_over_classes

    def build(self, *, student: Callable[..., nn.Module], num_classes: int) -> None:
        self.peer = another_network(self.factory, student, num_classes, "peer")

    def setup(self, run: RunFacts) -> None:
        get_ready(self.peer, run.image_shape, run.num_classes, "the peer")

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        with torch.no_grad():
            target = self.peer(x)
        (hard, soft, smooth), (peer_hard, peer_soft) = self.lambdas, self.gammas
        scale = 1 / target.shape[1] if self.mean_over_classes else 1.0

        def tempered(target: Tensor, logits: Tensor, temperature: float) -> Tensor:
            return scale * temperature**2 * kl(target, logits, temperature).mean()

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            clean, adv, peer = student(x), student(x_adv), self.peer(x_adv)
            terms = {
                "kl_peer": soft * tempered(peer.detach(), adv, self.temperature),
                "kl_self": smooth * tempered(clean, adv, self.temperature),
                "peer_ce": peer_hard * self.hard_label(peer, y),
                "peer_kl": peer_soft * tempered(adv, peer, self.peer_temperature),
            }
            return terms | ({"ce": hard * self.hard_label(adv, y)} if hard else {})

        return lambda x_adv: kl(target, student(x_adv)), training_loss
