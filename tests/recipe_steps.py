"""Whole training steps of a recipe of configs/methods on tiny networks, without a trainer."""

from copy import copy
from functools import reduce

import torch
from shipped_recipes import content, parts
from tiny import run_facts, tiny_net

from ard.attacks import PGD, AttackFactory, Linf
from ard.configs.building import build
from ard.models import Frozen
from ard.objectives.base import Objective, Step
from ard.objectives.returned import total_loss
from ard.training.replays import replay, replayed_loss
from ard.training.step import attack_batch, learn, show_clean, take
from ard.training.weight_perturbation import AWP

STEPS = 10  # as the schedule of a method sees them
BALL = Linf(eps=0.1)


class Steps:
    """Called with a number it takes that step; gives what `take` gives, or of replays the perturbation.

    Objectives that go around others are put around the recipe's, in the order of `around`.
    """

    def __init__(self, recipe, attack_batch=attack_batch, device="cpu", around=(), ball=BALL):
        said, self.device, self.ball = parts(recipe), device, ball
        self.attack_batch, self.mode = attack_batch, said.get("attack_mode", "eval")
        self.clean_pass, self.clamped = said.get("clean_pass"), said.get("clamped", "image")
        self.replays = said["replays"] if "replays" in said else 8 * recipe_is_free(recipe)
        self.student = tiny_net()
        self.teacher = loaded(Frozen.of(tiny_net(1))) if "teacher" in said or around else None
        self.objective = reduce(lambda base, option: option(base=base), around, build(Objective, said["objective"]))
        for number, part in enumerate(self.objective.modules()):
            if isinstance(part, Frozen):
                part.weights, part.given = "in memory", [tiny_net(number)]
                loaded(part)
        self.objective.build_all(student=lambda *, num_classes: tiny_net(7, classes=num_classes), num_classes=4)
        self.objective.setup_all(run_facts(student=self.student, teacher=self.teacher, threat=ball))
        attack = build(AttackFactory, said["attack"]) if "attack" in said else PGD
        self.attack = attack(ball=copy(ball))  # a test may change it
        self.attack.steps = min(self.attack.steps, 3)
        self.awp = build(AWP, said["weight_perturbation"]) if "weight_perturbation" in said else None
        for network in (*self.networks(), self.objective):
            network.to(device)
        self.delta, self.optimizer = None, self.optimized()

    def optimized(self):
        groups = [{"params": list(self.student.parameters())}, *self.objective.param_groups_all()]
        return torch.optim.SGD(groups, lr=0.1, momentum=0.9)

    def networks(self):
        """All there are, teachers too."""
        roots = [part for part in (self.student, self.teacher, self.objective) if part is not None]
        return roots + [
            net for root in roots for part in root.modules() if isinstance(part, Frozen) for net in part.networks
        ]

    def __call__(self, number, x, y):
        self.student.train()
        self.objective.train()
        draws, shown = self.drawing(number), torch.arange(4, device=self.device)
        at = {"epoch": number // 5, "batch": number % 5, "progress": number / STEPS, "eps": self.ball.eps}
        step = Step(**at, generator=draws, image_indices=shown)
        moving = self.student, self.teacher, self.objective
        if self.replays:
            loss = replayed_loss(*moving, x, y, step, mode=self.mode)
            options = {"count": self.replays, "descend": self.descend, "clamped": self.clamped}
            self.delta = replay(loss, x, self.delta, ball=self.ball, **options)
            return self.delta
        options = {"generator": self.drawing(100 + number), "mode": self.mode, "weight_perturbation": self.awp}
        options["clean_pass"], self.clean = self.clean_pass, x
        taken = take(
            *moving,
            self.attack,
            x,
            y,
            step,
            **options,
            attack_batch=self.attack_batch,
            learn=getattr(self.attack_batch, "learn", learn),
        )
        self.descend(taken.terms, taken.undo)
        return taken

    def drawing(self, number):
        return torch.Generator(self.device).manual_seed(number)

    def descend(self, terms, undo=lambda: None):
        self.optimizer.zero_grad()
        total_loss(terms).backward()
        late = self.awp is not None and self.awp.restore == "after_step"
        for move in (self.optimizer.step, undo) if late else (undo, self.optimizer.step):
            move()
        if self.clean_pass == "after_step":
            show_clean(self.student, self.clean)
        self.objective.after_step_all({name: term.detach() for name, term in terms.items()}, self.student)


def recipe_is_free(recipe):
    return content(recipe)["model"]["class_path"].endswith("FreeDistillation")


def loaded(teacher):
    return teacher.load(num_classes=4, input_shape=(1, 6, 6))
