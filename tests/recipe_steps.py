"""Whole training steps of a recipe of configs/methods on tiny networks, without a trainer."""

from functools import partial

import torch
from shipped_recipes import content, parts
from tiny import generator, run_facts, tiny_net

from ard.attacks import PGD, AttackFactory, Linf
from ard.configs.building import build
from ard.models import Frozen
from ard.objectives.base import Objective, Step
from ard.training.step import attack_batch, take
from ard.training.weight_perturbation import AWP

STEPS = 10  # as the schedule of a method sees them


class Steps:
    """Called with a number it takes that step, and gives the attack_batch images and the terms."""

    def __init__(self, recipe, attack_batch=attack_batch, device="cpu"):
        said = parts(recipe)
        self.attack_batch, self.mode, self.device = attack_batch, said.get("attack_mode", "eval"), device
        self.free = content(recipe)["model"]["class_path"].endswith("FreeDistillation")
        self.student = tiny_net().to(device)
        self.teacher = self.frozen(Frozen.of(tiny_net(1).to(device))) if "teacher" in said else None
        self.objective = build(Objective, said["objective"])
        for number, part in enumerate(self.objective.modules()):
            if isinstance(part, Frozen):
                part.weights, part._given = "in memory", [tiny_net(number).to(device)]
                self.frozen(part)
        factory = lambda *, num_classes: tiny_net(7, classes=num_classes).to(device)  # noqa: E731
        self.objective.build_all(student=factory, num_classes=4)
        self.objective.to(device)
        self.objective.setup_all(run_facts(student=self.student, teacher=self.teacher))
        attack = build(AttackFactory, said["attack"]) if "attack" in said else partial(PGD, steps=2)
        self.attack = attack(ball=Linf(eps=0.1))
        self.attack.steps = min(self.attack.steps, 3)
        self.awp = build(AWP, said["weight_perturbation"]) if "weight_perturbation" in said else None
        groups = [{"params": list(self.student.parameters())}, *self.objective.param_groups_all()]
        self.optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)

    @staticmethod
    def frozen(teacher):
        return teacher.load(num_classes=4, input_shape=(1, 6, 6))

    def __call__(self, number, x, y):
        self.student.train()
        self.objective.train()
        step = Step(
            epoch=number // 5,
            batch=number % 5,
            progress=number / STEPS,
            eps=0.1,
            generator=generator(number),
            shown=torch.arange(4),
        )
        taken = take(
            self.student, self.teacher, self.objective, self.attack, x, y, step,
            generator=generator(100 + number), mode=self.mode, weight_perturbation=self.awp, attack_batch=self.attack_batch,
        )  # fmt: skip
        self.optimizer.zero_grad()
        taken.loss.backward()
        taken.undo()
        self.optimizer.step()
        self.objective.after_step_all({name: term.detach() for name, term in taken.terms.items()}, self.student)
        return taken
