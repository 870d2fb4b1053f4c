"""Region adversarial training: the perturbations of a linear network are known, and so is who meets which of them."""

import pytest
import torch
from tiny import images, labels, run_facts, tiny_net, user_error
from torch import nn

from ard.attacks import L2, Linf
from ard.losses import kl
from ard.objectives.base import Step
from ard.objectives.cgard import CGARD
from ard.objectives.natural import Natural
from ard.objectives.region_at import RegionAT
from ard.objectives.rslad import RSLAD

EPS = 0.125
X = 0.3 + 0.4 * images(8)


def made(student, classes, threat=None, **options):
    objective = RegionAT(**options)
    objective.setup(run_facts(student=student, num_classes=classes, threat=threat or Linf(eps=EPS)))
    return objective


def step(objective, student, x, y, batch=0):
    """The step of one batch as training takes it; what its training loss was asked about is what the student saw."""
    seen = []
    objective.begin(Step(batch=batch, eps=EPS))
    handle = student.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach()))
    attack_loss, training_loss = objective(student, None, x, y)
    training_loss(x)
    handle.remove()
    objective.after_step_all({}, student)
    assert attack_loss is None
    return seen[0]


@pytest.mark.parametrize("threat", [Linf(eps=EPS), L2(eps=EPS)], ids=["Linf", "L2"])
def test_of_a_linear_network_of_two_classes_it_is_the_steepest_direction(threat):
    """v_t = eps sign(w_t − w_y), or eps (w_t − w_y) / ‖w_t − w_y‖₂, whatever the images."""
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    objective = made(student, 2, threat)
    step(objective, student, X, labels(8, 2))
    apart = (student[1].weight[0] - student[1].weight[1]).detach().view(1, 6, 6)
    toward_0 = apart.sign() if threat.norm == "Linf" else apart / apart.norm()
    torch.testing.assert_close(objective.table, EPS * torch.stack([toward_0, -toward_0]))


def test_each_image_meets_the_perturbation_of_another_class_and_they_take_turns():
    student, y = tiny_net().eval(), torch.tensor([0, 1, 2, 3, 0, 0, 0, 1])
    objective = made(student, 4)
    assert torch.equal(step(objective, student, X, y), X)  # v is 0 at first
    met = set()
    for turn in range(1, 4):
        expected = [(int(k) + 1 + (turn + place) % 3) % 4 for place, k in enumerate(y)]
        assert objective.targets(y).tolist() == expected
        assert all(t != int(k) for t, k in zip(expected, y, strict=True))
        met |= {t for t, k in zip(expected, y, strict=True) if k == 0}
        table = objective.table.clone()
        torch.testing.assert_close(step(objective, student, X, y, batch=turn), (X + table[expected]).clamp(0, 1))
        assert torch.equal(objective.table, table), "refreshed after the first step of an epoch alone"
    assert met == {1, 2, 3}
    assert set(objective.targets(torch.full((8,), -1)).tolist()) <= set(range(4)), "an image without a label"
    step(objective, student, X, y, batch=0)
    assert not torch.equal(objective.table, table)
    assert objective.table.abs().max() <= EPS
    assert all(parameter.grad is None for parameter in student.parameters())


def test_one_step_goes_down_the_mean_over_images_of_other_classes():
    """−eps sign of that gradient, as 2.5 eps is cut to the ball; images of the class itself have no part in it."""
    student, y = tiny_net().eval(), torch.tensor([0, 0, 0, 0, 0, 0, 1, 2])
    objective = made(student, 4, steps=1)
    step(objective, student, X, y)
    for target in range(4):
        shift = torch.zeros(1, 1, 6, 6, requires_grad=True)
        toward = student(X[y != target] + shift).log_softmax(dim=1)[:, target].mean()
        (gradient,) = torch.autograd.grad(toward, shift)
        torch.testing.assert_close(objective.table[target], EPS * gradient[0].sign())


def test_it_drives_images_of_other_classes_to_its_own():
    student, y = tiny_net().eval(), labels(8)
    objective = made(student, 4, steps=10)
    for _ in range(3):
        step(objective, student, X, y)
    for target in range(4):
        others = X[y != target]
        before, after = (student(x).log_softmax(dim=1)[:, target].mean() for x in (others, others + objective.table[target]))
        assert after > before


def test_the_base_learns_at_what_was_looked_up_and_state_goes_on_exactly():
    student, teacher = tiny_net().eval(), tiny_net(1).eval()
    objective, y = made(student, 4, base=RSLAD(alpha=1.0)), labels(8)
    objective.table = nn.Buffer(EPS * torch.randn(4, 1, 6, 6).sign())
    with torch.no_grad():
        terms = objective(student, teacher, X, y)[1](X)
        moved = (X + objective.table[(y + 1 + torch.arange(8) % 3) % 4]).clamp(0, 1)
        torch.testing.assert_close(terms["kl_adv"], kl(teacher(X), student(moved)).mean())
        double = made(student, 4, base=CGARD())(student, teacher, X, y)[1](X)
    assert all(term.isfinite() for term in double.values())  # two points an image
    objective.turn.fill_(5)
    twin = made(student, 4, base=RSLAD(alpha=1.0))
    twin.load_state_dict(objective.state_dict())
    assert torch.equal(twin.table, objective.table)
    assert twin.targets(y).tolist() == objective.targets(y).tolist()


def test_a_base_that_attacks_nothing_is_refused():
    student = tiny_net()
    with user_error("Natural attacks nothing"):
        made(student, 4, base=Natural())(student, None, X, labels(8))
    with user_error("steps = 0: expected at least 1"):
        RegionAT(steps=0)
