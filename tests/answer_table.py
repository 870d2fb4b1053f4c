"""Losses in numpy and float64, and networks that answer from a table, so that every logit is a variable of its own."""

import numpy as np
import pytest
import torch
from tiny import generator, images, labels
from torch import Tensor, nn

CLASSES, STEP = 4, 1e-6  # the step of the central differences
X, Y = images().double(), labels()
X_ADV = (X + 0.6 * (images(seed=1) - 0.5)).clamp(0, 1)
HOT = np.eye(CLASSES)[Y.numpy()]


class Table(nn.Module):
    """Knows its answer to every image of `points` by heart: a parameter each, random unless given."""

    def __init__(self, seed: int, **points: Tensor) -> None:
        super().__init__()
        random = generator(seed)
        self.points = points
        self.answers = nn.ParameterDict(
            {name: 2 * torch.randn(len(x), CLASSES, generator=random, dtype=torch.float64) for name, x in points.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        found = [name for name, point in self.points.items() if torch.allclose(point, x, rtol=0, atol=1e-12)]
        assert len(found) == 1, "asked about images that are not in its table"
        return self.answers[found[0]]

    def numpy(self) -> dict[str, np.ndarray]:
        return {name: answer.detach().numpy().copy() for name, answer in self.answers.items()}


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def kl(target: np.ndarray, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    p, q = softmax(target, temperature), softmax(logits, temperature)
    return (p * np.log(p / q)).sum(axis=1)


def ce(logits: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    return -(((1 - smoothing) * HOT + smoothing / CLASSES) * np.log(softmax(logits))).sum(axis=1)


def assert_attack_loss(objective, student, teacher, expected):
    """One number per example at X_ADV."""
    attack_loss, _ = objective(student, teacher, X, Y)
    np.testing.assert_allclose(attack_loss(X_ADV).detach(), expected, rtol=1e-10)


def assert_training_loss(objective, student, teacher, formula):
    """`formula(z)` -> {term: number}; z are the student's logits by name. Its slopes are the gradient of every logit."""
    terms = {name: term for name, term in objective(student, teacher, X, Y)[1](X_ADV).items() if term.ndim == 0}
    z = student.numpy()
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(formula(z), rel=1e-10)
    student.zero_grad()
    sum(terms.values()).backward()
    for name, answer in student.answers.items():
        found = np.zeros_like(z[name]) if answer.grad is None else answer.grad.numpy()
        np.testing.assert_allclose(found, slopes(formula, z, name), rtol=1e-6, atol=1e-8, err_msg=name)
    assert teacher is None or all(answer.grad is None for answer in teacher.answers.values())


def slopes(formula, z, name):
    """The derivative of the formula's sum by every logit called `name`, by central differences."""
    found = np.zeros_like(z[name])
    for place in np.ndindex(found.shape):
        ends = []
        for step in (STEP, -STEP):
            moved = {**z, name: z[name].copy()}
            moved[name][place] += step
            ends.append(sum(formula(moved).values()))
        found[place] = (ends[0] - ends[1]) / (2 * STEP)
    return found
