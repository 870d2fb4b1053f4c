"""IKL-AT: the KL between clean and attacked answers, taken apart into two terms that are weighted on their own."""

import torch
from torch import Tensor, nn

from ard.core.ranges import above
from ard.losses import kl, log_softmax
from ard.objectives.base import Objective, Pair, RunFacts


class IKLAT(Objective):
    """IKL-AT, Cui et al., NeurIPS 2024, arXiv:2305.13948, where DKL is the KL taken apart and IKL what is improved of it.

    Attack loss: KL(S(x) ‖ S(x')) + β' wMSE(S(x), S(x'); s).
    Training loss: mean CE(S(x), y) + α KL(S(x) ‖ S(x')) + β wMSE(S(x), S(x'); s), S(x) detached in the KL and not in wMSE.
    wMSE(m, n; s) = ¼ Σ_jk s_j s_k ((m_j − m_k) − (n_j − n_k))². Here s is the prior of the image's class: the mean of
    softmax(S(x)/T) over the class's images in the epoch before, 1/C each in the first epoch; a class that an epoch does not
    show keeps its prior. With s = softmax(m), n detached in wMSE and α = β = 1 the gradient would be that of KL(m ‖ n).

    Args:
        alpha: α.
        beta: β.
        attack_beta: β'; the paper takes 1 on CIFAR-100 and 0 on CIFAR-10.
        temperature: T, of the prior alone.

    Raises:
        UserError: For a temperature that is not above 0.
    """

    def __init__(
        self, *, alpha: float = 4.0, beta: float = 20.0, attack_beta: float = 0.0, temperature: float = 4.0
    ) -> None:
        super().__init__()
        above(0, temperature=temperature)
        self.alpha, self.beta, self.attack_beta, self.temperature = alpha, beta, attack_beta, temperature
        self.prior, self.sums = nn.Buffer(torch.empty(0)), nn.Buffer(torch.empty(0))  # a row for each class

    def setup(self, run: RunFacts) -> None:
        square, device = (run.num_classes, run.num_classes), self.prior.device
        self.prior = nn.Buffer(torch.full(square, 1 / run.num_classes, device=device))
        self.sums = nn.Buffer(torch.zeros(square, device=device))

    def forward(self, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Pair:  # noqa: ARG002
        prior = self.prior[y]
        with torch.no_grad():
            target = student(x)

        def attack_loss(x_adv: Tensor) -> Tensor:
            adv = student(x_adv)
            return kl(target, adv) + self.attack_beta * weighted_mse(target, adv, prior)

        def training_loss(x_adv: Tensor) -> dict[str, Tensor]:
            adv, clean = student(x_adv), student(x)
            return {
                "ce": self.hard_label(clean, y),
                "kl": self.alpha * kl(clean.detach(), adv).mean(),
                "wmse": self.beta * weighted_mse(clean, adv, prior).mean(),
                "prior_sums": self._of_each_class(clean.detach(), y),
            }

        return attack_loss, training_loss

    def _of_each_class(self, logits: Tensor, y: Tensor) -> Tensor:
        """softmax(logits/T), summed over the images of each class, shape (C, C)."""
        softmax = log_softmax(logits, self.temperature).exp()
        return softmax.new_zeros(self.prior.shape).index_add(0, y, softmax)

    def after_step(self, terms: dict[str, Tensor], student: nn.Module) -> None:  # noqa: ARG002
        self.sums.add_(terms["prior_sums"])

    def on_epoch_end(self) -> None:
        images = self.sums.sum(dim=1, keepdim=True)  # of each class: a softmax sums to 1
        self.prior.copy_(torch.where(images > 0, self.sums / images, self.prior))
        self.sums.zero_()


def weighted_mse(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """¼ Σ_jk w_j w_k ((m_j − m_k) − (n_j − n_k))²: half the variance, under the weights, of m − n over the classes.

    Args:
        first: Logits m, shape (batch, C).
        second: Logits n, shape (batch, C).
        weights: w, shape (batch, C), each row of sum 1.

    Returns:
        One number for each example, shape (batch,).
    """
    apart = log_softmax(first) - log_softmax(second)  # m − n up to a number of each image, which a variance does not see
    mean = (weights * apart).sum(dim=1, keepdim=True)
    return (weights * (apart - mean).square()).sum(dim=1) / 2
