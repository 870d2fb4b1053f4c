"""ARD in a plain PyTorch loop: our attack and objective, your own loop, optimiser and networks."""

import torch

import ard
from ard.objectives.ard import ARD
from ard.objectives.base import Step
from ard.objectives.pgd_at import PGDAT

torch.manual_seed(0)
epochs, device = 10, "cuda" if torch.cuda.is_available() else "cpu"
data, generator = ard.data.Digits(), torch.Generator(device).manual_seed(0)
teacher = ard.models.ResNet(num_classes=10, in_channels=1, width=16, blocks=[1, 1]).to(device)  # put your robust one here
student = ard.models.ResNet(num_classes=10, in_channels=1, width=8, blocks=[1]).to(device)
attack = ard.attacks.PGD(ard.Linf(0.15), steps=7)


def train(network, objective, teacher=None):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for epoch in range(epochs):
        for images, y in data.train_dataloader():
            x, y = images.to(device) / 255, y.to(device)
            step = Step(epoch=epoch, progress=epoch / epochs, eps=attack.ball.eps)
            taken = ard.take(network.train(), teacher, objective, attack, x, y, step, generator=generator)
            optimizer.zero_grad()
            taken.loss.backward()
            optimizer.step()
    return network.eval()


train(teacher, PGDAT())
train(student, ARD(alpha=0.9, temperature=5.0), teacher.requires_grad_(False))
ard.evaluate(student, data, threat=ard.Linf(0.15))
