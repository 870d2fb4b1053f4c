"""The guard around an attack: what it sets, what it refuses, and that everything comes back."""

import pytest
import torch
from tiny import generator, images, labels, tiny_net
from torch import nn

from ard.attacks import PGD, Linf, attacking, frozen_mode
from ard.losses import cross_entropy


class Holder(nn.Module):
    """Stands for an objective that holds a network of its own."""

    def __init__(self):
        super().__init__()
        self.peer = nn.Sequential(nn.Linear(2, 2), nn.Dropout())


def attack(student, mode="eval"):
    with attacking(student, Holder(), mode=mode):
        return PGD(Linf(eps=0.1), steps=3)(lambda x: cross_entropy(student(x), labels()), images(), generator())


def snapshot(*roots):
    modes = [module.training for root in roots for module in root.modules()]
    return modes, [parameter.requires_grad for root in roots for parameter in root.parameters()]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_while_it_lasts_modes_are_set_and_parameters_frozen(mode):
    student, objective = tiny_net(), Holder()
    with attacking(student, objective, mode=mode):
        assert all(module.training == (mode == "train") for root in (student, objective) for module in root.modules())
        assert not any(p.requires_grad for root in (student, objective) for p in root.parameters())


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("fails", [False, True])
def test_mixed_modes_and_frozen_parameters_come_back(mode, fails):
    student, objective = tiny_net(), Holder()
    student[1].eval()
    student[0].weight.requires_grad_(False)
    objective.peer[1].eval()
    before = snapshot(student, objective)
    try:
        with attacking(student, objective, mode=mode):
            assert snapshot(student, objective) != before
            if fails:
                raise KeyError("raised inside")
    except KeyError:
        pass
    assert snapshot(student, objective) == before
    student(images()).sum().backward()
    assert student[0].weight.grad is None
    assert student[4].weight.grad is not None


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_batch_norm_moves_in_train_mode_only(mode):
    student = tiny_net()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    attack(student, mode)
    moved = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert moved == (statistics if mode == "train" else set())


def test_the_attack_is_no_part_of_the_students_gradient():
    student = tiny_net()
    attack(student)
    assert all(parameter.grad is None for parameter in student.parameters())


@pytest.mark.parametrize("fails", [False, True])
def test_global_random_state_comes_back(fails):
    student, objective = tiny_net(), Holder()
    state = torch.get_rng_state()
    try:
        with attacking(student, objective):
            torch.rand(7)
            if fails:
                raise KeyError("raised inside")
    except KeyError:
        pass
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_under_attack_does_not_disturb_the_global_stream():
    student, drawn = nn.Sequential(tiny_net(), nn.Dropout(0.5)), []
    state = torch.get_rng_state()
    student.register_forward_hook(lambda *_: drawn.append(not torch.equal(torch.get_rng_state(), state)))
    with attacking(student, nn.Module(), mode="train"):
        PGD(Linf(eps=0.1), steps=3)(lambda x: cross_entropy(student(x), labels()), images(), generator())
    assert all(drawn)  # dropout did draw from it meanwhile
    assert torch.equal(torch.get_rng_state(), state)


def test_a_student_call_that_would_lose_its_gradient_is_refused():
    student = tiny_net()
    with attacking(student, Holder()):
        with pytest.raises(RuntimeError, match=r"outside its two losses.*move the call into the training loss"):
            student(images())
        with torch.no_grad():
            assert student(images()).shape == (4, 4)
        assert student(images().requires_grad_()).requires_grad  # this is how an attack asks
    assert student(images()).requires_grad


def test_the_guard_is_gone_after_an_exception():
    student = tiny_net()
    with pytest.raises(RuntimeError, match="outside"), attacking(student, Holder()):
        student(images())
    assert student(images()).requires_grad


def test_a_guarded_teacher_may_speak():
    teacher = tiny_net(1)
    with attacking(tiny_net(), Holder()):
        assert teacher(images()).requires_grad


def test_harmless_takes_several_networks_and_no_parameters():
    first, second = tiny_net(), nn.Sequential(nn.Dropout(), nn.Flatten())
    with frozen_mode(first, second):
        assert [first.training, second.training] == [False, False]
        assert torch.equal(second(images()), images().flatten(1))
    assert [first.training, second.training] == [True, True]
