"""A student that is a table of logits, its formulas in numpy: what the oracles of several methods share."""

from collections.abc import Callable

import numpy as np
import torch
from tiny import images, labels
from torch import Tensor, nn

from ard.attacks import attacking

CLASSES, BATCH = 4, 6
X, Y = images(BATCH).double(), labels(BATCH)
X_ADV = (X + 0.3 * (images(BATCH, seed=1) - 0.5)).clamp(0, 1)
ROWS = np.arange(BATCH), Y.numpy()  # of the true class


class LogitTable(nn.Module):
    """Answers every image with logits of its own. They are its parameters: gradients in them are gradients in logits."""

    def __init__(self, *batches: Tensor, seed: int = 0) -> None:
        super().__init__()
        self.images = torch.cat(batches)
        random = torch.Generator().manual_seed(seed)
        self.logits = nn.Parameter(1.5 * torch.randn(len(self.images), CLASSES, generator=random, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[[int((self.images == image).flatten(1).all(dim=1).nonzero()[0]) for image in x]]

    def numbers(self, count: int) -> list[np.ndarray]:
        """The logits of each of `count` batches."""
        return np.split(self.logits.detach().numpy(), count)


def softmax(logits, temperature=1.0):
    powers = np.exp(logits / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def kl(p, q):
    return (p * np.log(p / q)).sum(axis=1)


def ce(logits):
    return -np.log(softmax(logits)[ROWS])


def pair(objective, student, teacher=None):
    with attacking(student, objective):
        return objective(student, teacher, X, Y)


def assert_loss_and_gradient(found: Tensor, formula: Callable, student: LogitTable, count: int = 2) -> None:
    """`formula` of the logits of `count` batches is the loss; its central differences are the gradient in every logit.

    What a method detaches, a formula takes from the table before and not from its arguments.
    """
    batches = np.stack(student.numbers(count))
    np.testing.assert_allclose(found.detach(), formula(*batches), rtol=1e-10)
    (gradient,) = torch.autograd.grad(found.sum(), student.logits, retain_graph=True)
    expected, step = np.zeros_like(batches), 1e-6
    for place in np.ndindex(batches.shape):
        moved = np.zeros_like(batches)
        moved[place] = step
        expected[place] = (np.sum(formula(*(batches + moved))) - np.sum(formula(*(batches - moved)))) / (2 * step)
    np.testing.assert_allclose(gradient, expected.reshape(-1, CLASSES), rtol=1e-6, atol=1e-8)
