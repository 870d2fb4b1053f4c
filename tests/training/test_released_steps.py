"""Steps of recipes as released against the authors' loops written anew: order of passes, starts, weights and statistics."""

import pytest
import torch
import torch.nn.functional as F
from recipe_steps import BALL, Steps
from shipped_recipes import RECIPES, parts
from tiny import images, labels

EPS, COUNT, DECAY = BALL.eps, 3, 0.3
SIZE = 2.5 * EPS / 10  # of the recipes' ten steps, of which Steps takes three


def saturated(number):
    """Images of which some pixels are 0 and some 1."""
    return (1.6 * images(4, seed=number) - 0.3).clamp(0, 1)


def log_p(logits, t=1.0):
    return F.log_softmax(logits / t, dim=1)


def apart(logits, target, t=1.0):
    """What each class of each image adds to KL(target ‖ logits), shape (batch, C)."""
    return F.kl_div(log_p(logits, t), log_p(target, t).exp(), reduction="none")


class Released:
    """Student, teacher and optimiser of the authors' loops; the recipe's own draws."""

    def __init__(self, steps):
        self.student, self.optimizer = steps.student, steps.optimizer
        self.teacher = steps.teacher.networks[0].eval() if steps.teacher is not None else None

    def attacked(self, loss, x, number, start, mode, clamp=False):
        draw = {"uniform": torch.rand, "gaussian": torch.randn}[start]
        noise = draw(x.shape, generator=torch.Generator().manual_seed(100 + number))
        x_adv = x + (EPS * (2 * noise - 1) if start == "uniform" else 1e-3 * noise)
        x_adv = x_adv.clamp(0, 1) if clamp else x_adv
        self.student.train(mode == "train")
        for _ in range(COUNT):
            x_adv = x_adv.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(loss(x_adv), [x_adv])
            x_adv = x_adv.detach() + SIZE * gradient.sign()
            x_adv = torch.min(torch.max(x_adv, x - EPS), x + EPS).clamp(0, 1)
        self.student.train()
        return x_adv.detach()

    def descend(self, loss):
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def ard(self, x, y, number):
        x_adv = self.attacked(lambda z: F.cross_entropy(self.student(z), y, reduction="sum"), x, number, "uniform", "train")
        adv, target, _ = self.student(x_adv), self.teacher(x).detach(), self.student(x)
        self.descend(900 * apart(adv, target, t=30).mean())

    def adaad(self, x, y, number):  # noqa: ARG002
        x_adv = self.attacked(lambda z: apart(self.student(z), self.teacher(z)).sum(), x, number, "gaussian", "eval")
        self.student(x)
        self.descend(apart(self.student(x_adv), self.teacher(x_adv).detach()).mean())

    def rslad(self, x, y, number):  # noqa: ARG002
        target = self.teacher(x).detach()
        x_adv = self.attacked(lambda z: apart(self.student(z), target).sum(), x, number, "gaussian", "eval")
        adv, clean = (apart(self.student(z), target).sum(dim=1).mean() / 10 for z in (x_adv, x))
        self.descend(5 / 6 * adv + 1 / 6 * clean)

    def saad(self, x, y, number):
        at, each = x.clone().requires_grad_(), torch.arange(len(x))
        logits = self.teacher(at)
        (slope,) = torch.autograd.grad(logits[each, y].sum(), at)

        def loss(z):
            target = logits.detach().clone()
            target[each, y] += torch.einsum("bchw,bchw->b", slope, z - x)
            return apart(self.student(z), target).sum()

        x_adv = self.attacked(loss, x, number, "gaussian", "eval")
        there, back = self.teacher(x_adv).detach(), self.teacher(2 * x - x_adv).detach()
        adv, opposite, _ = self.student(x_adv), self.student(2 * x - x_adv), self.student(x)
        entropy = -(log_p(there).exp() * log_p(there)).sum(dim=1)
        of_images, of_changes = apart(adv, there).sum(dim=1), apart(adv - opposite, there - back).sum(dim=1)
        self.descend((5 * (entropy - entropy.min()) * (of_images + number / 10 * of_changes)).mean())

    def pgd_at(self, x, y, number, gamma=0.0):
        def loss(z, reduction="mean"):
            return F.cross_entropy(self.student(z), y, reduction=reduction)

        x_adv = self.attacked(lambda z: loss(z, "sum"), x, number, "uniform", "train", clamp=True)
        weights = [weight for weight in self.student.parameters() if weight.ndim > 1]
        statistics = [buffer.clone() for buffer in self.student.buffers()]  # the proxy is another network
        slopes = torch.autograd.grad(loss(x_adv), weights)
        for buffer, before in zip(self.student.buffers(), statistics, strict=True):
            buffer.copy_(before)
        moves = [gamma * w.detach().norm() / slope.norm() * slope for w, slope in zip(weights, slopes, strict=True)]
        with torch.no_grad():
            _ = [weight.add_(move) for weight, move in zip(weights, moves, strict=True)]
        self.descend(loss(x_adv))
        with torch.no_grad():
            _ = [weight.sub_(move) for weight, move in zip(weights, moves, strict=True)]
            self.student(x)

    def pgd_at_awp(self, x, y, number):
        self.pgd_at(x, y, number, gamma=0.01)


def decaying(name):
    steps = Steps(next(recipe for recipe in RECIPES if recipe.stem == f"{name}-as-released"))
    steps.optimizer.param_groups[0]["weight_decay"] = DECAY
    return steps


@pytest.mark.parametrize("name", ["ard", "adaad", "rslad", "saad", "pgd_at", "pgd_at_awp"])
def test_three_steps_end_where_the_authors_end(name):
    ours, theirs = decaying(name), decaying(name)
    loop = Released(theirs)
    for number in range(3):
        ours(number, saturated(number), labels(4))
        getattr(loop, name)(saturated(number), labels(4), number)
    for key, value in ours.student.state_dict().items():
        torch.testing.assert_close(
            value, theirs.student.state_dict()[key], rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}"
        )


# Of the authors' loops, those that begin outside [0, 1], and those that show clean images to BatchNorm alone.
UNCUT = ["absld", "adaad", "adaiad", "ard", "b_mtard", "ciard", "dgad", "fair_ard", "iad_i", "iad_ii", "mtard", "peeraid"]
SHOWN = {"adaad": "before_loss", "adaiad": "before_loss", "pgd_at": "after_step", "pgd_at_awp": "after_step"}


def test_which_recipes_say_so():
    said = {recipe.stem.removesuffix("-as-released"): parts(recipe) for recipe in RECIPES if "as-released" in recipe.stem}
    uncut = {name for name, part in said.items() if part.get("attack", {}).get("init_args", {}).get("clamp_start") is False}
    assert uncut == {*UNCUT, "ikl_at", "lbgat", "mart", "rslad", "rslad_igdm", "saad"}
    shown = {name: part["clean_pass"] for name, part in said.items() if "clean_pass" in part}
    assert shown == SHOWN | dict.fromkeys(["ard", "fair_ard", "iad_i", "saad"], "after_loss")
