"""The training step as the released codes of ARD and RSLAD take it, in plain PyTorch: what ours is measured against.

Written from their description: NCHW, float32, parameters that require gradients while the attack runs, ARD's attack in train
mode and its clean forward whose loss is multiplied by 1 − α = 0, KL averaged over examples and classes, images through PIL.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import transforms

EPS, STEP_SIZE, TEMPERATURE = 8 / 255, 2 / 255, 30.0

ReleasedStep = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # x, y, start of the attack -> loss, x_adv


def ard_step(
    student: nn.Module, teacher: nn.Module, optimizer: torch.optim.Optimizer, steps: int, watch: AbstractContextManager
) -> ReleasedStep:
    """ARD at its released defaults, α = 1 and temperature 30; `watch` is entered around the attack."""

    def step(x: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        student.train()
        with watch:
            x_adv = _climb(lambda x_adv: F.cross_entropy(student(x_adv), y, reduction="sum"), x, x + start, steps)
        answer = student(x_adv)
        with torch.no_grad():
            target = F.softmax(teacher(x) / TEMPERATURE, dim=1)
        clean = student(x)
        distilled = nn.KLDivLoss()(F.log_softmax(answer / TEMPERATURE, dim=1), target)
        loss = TEMPERATURE**2 * distilled + 0.0 * F.cross_entropy(clean, y)
        return _descend(loss, optimizer), x_adv

    return step


def rslad_step(
    student: nn.Module, teacher: nn.Module, optimizer: torch.optim.Optimizer, steps: int, watch: AbstractContextManager
) -> ReleasedStep:
    """RSLAD: attack in eval mode on KL(T(x) ‖ S(x')), then two forwards in train mode; `watch` as in ard_step."""

    def step(x: Tensor, _: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            target = F.softmax(teacher(x), dim=1)
        student.eval()

        def inner(x_adv: Tensor) -> Tensor:
            return nn.KLDivLoss(reduction="sum")(F.log_softmax(student(x_adv), dim=1), target)

        with watch:
            x_adv = _climb(inner, x, x + start, steps)
        student.train()
        return _descend(5 / 6 * _kl(target, student(x_adv)) + 1 / 6 * _kl(target, student(x)), optimizer), x_adv

    return step


def pil_images(images: Tensor) -> Tensor:
    """Crop, flip and convert uint8 (batch, 3, H, W) an image at a time through PIL, as their loaders do.

    They do it in worker processes; here it is done, and counted, in this one, since workers would take the same cores.
    """
    draw = transforms.Compose(
        [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )
    to_pil = transforms.ToPILImage()
    return torch.stack([draw(to_pil(image)) for image in images])


def _climb(loss: Callable[[Tensor], Tensor], x: Tensor, x_adv: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        x_adv = x_adv.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(x_adv), [x_adv])
        x_adv = x_adv.detach() + STEP_SIZE * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - EPS), x + EPS).clamp(0, 1)
    return x_adv


def _kl(target: Tensor, logits: Tensor) -> Tensor:
    return (target * ((target + 1e-5).log() - F.log_softmax(logits, dim=1))).mean()


def _descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
