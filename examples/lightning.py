"""RSLAD in Lightning: networks and loaders of your own, any trainer, one line for the method."""

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import ard


def network(width):
    layers = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * width, 10))


digits = load_digits()
images = torch.tensor(digits.images * 255 / 16).round().to(torch.uint8).unsqueeze(1)  # uint8, or floats in [0, 1]
parts = random_split(TensorDataset(images, torch.tensor(digits.target)), [1197, 200, 400])
train, val, test = (DataLoader(part, batch_size=64, shuffle=part is parts[0]) for part in parts)

teacher, student, threat = network(64), network(16), ard.Linf(0.15)
adversarial = ard.Distillation(student=teacher, objective="pgd_at", threat=threat)
distilled = ard.Distillation(student=student, teacher=teacher, objective="rslad", threat=threat)
for module in (adversarial, distilled):
    pl.Trainer(max_epochs=15, logger=False).fit(module, train, val)

ard.evaluate(student, test, threat=threat)
