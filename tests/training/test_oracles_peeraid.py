"""PeerAiD written out a second time, in numpy and float64, for both of its learners."""

import numpy as np
import pytest
import torch
from logit_table import BATCH, CLASSES, X_ADV, LogitTable, X, Y, assert_loss_and_gradient, ce, kl, pair, softmax
from torch import nn

from ard.attacks import PGD, Linf
from ard.objectives.base import Step
from ard.objectives.peeraid import PeerAiD
from ard.training.distillation import Distillation
from ard.training.schedule import Training


def peer(*, num_classes):
    assert num_classes == CLASSES
    return LogitTable(X, X_ADV, seed=1)


def built(**arguments):
    objective = PeerAiD(**arguments)
    objective.build(student=peer, num_classes=CLASSES)
    return objective


def formulas(student, peer, lambdas, gammas, t, peer_t, scale):
    """For each of the learners: term -> what it is of the learner's logits on x and x', with the other's held constant."""
    of_peer, of_student = peer.numbers(2)[1], student.numbers(2)[1]

    def divergence(p, q, t):
        return scale * t**2 * kl(softmax(p, t), softmax(q, t)).mean()

    in_student = {
        "kl_peer": lambda _, adv: lambdas[1] * divergence(of_peer, adv, t),
        "kl_self": lambda clean, adv: lambdas[2] * divergence(clean, adv, t),
        "peer_kl": lambda _, adv: gammas[1] * divergence(adv, of_peer, peer_t),
    } | ({"ce": lambda _, adv: lambdas[0] * ce(adv).mean()} if lambdas[0] else {})
    in_peer = {
        "peer_ce": lambda _, adv: gammas[0] * ce(adv).mean(),
        "peer_kl": lambda _, adv: gammas[1] * divergence(of_student, adv, peer_t),
    }
    return in_student, in_peer


@pytest.mark.parametrize("mean_over_classes", [False, True])
@pytest.mark.parametrize(
    ("lambdas", "gammas", "t", "peer_t"),
    [((0.0, 1.0, 1.0), (1.0, 0.1), 5.0, 1.0), ((0.035, 35.0, 20.0), (1.0, 9.0), 1.0, 2.0)],
)
def test_peeraid(lambdas, gammas, t, peer_t, mean_over_classes):
    student = LogitTable(X, X_ADV)
    objective = built(
        lambdas=lambdas, gammas=gammas, temperature=t, peer_temperature=peer_t, mean_over_classes=mean_over_classes
    )
    attack_loss, training_loss = pair(objective, student)
    target = softmax(objective.peer.numbers(2)[0])
    assert_loss_and_gradient(attack_loss(X_ADV), lambda _, adv: kl(target, softmax(adv)), student)
    terms = training_loss(X_ADV)
    scale = 1 / CLASSES if mean_over_classes else 1
    for learner, expected in zip(
        (student, objective.peer), formulas(student, objective.peer, lambdas, gammas, t, peer_t, scale), strict=True
    ):
        for name, formula in expected.items():
            assert_loss_and_gradient(terms[name], formula, learner)
        for name in terms.keys() - expected.keys():
            assert torch.autograd.grad(terms[name], learner.logits, retain_graph=True, allow_unused=True) == (None,), name


def test_the_attack_sees_the_peer_in_eval_mode_and_outer_as_it_trains():
    modes = []
    student, objective = LogitTable(X, X_ADV), built().train()
    objective.peer.register_forward_hook(lambda module, *_: modes.append((module.training, torch.is_grad_enabled())))
    _, training_loss = pair(objective, student)
    training_loss(X_ADV)
    assert modes == [(False, False), (True, True)]


def small(*, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, num_classes))


def linear(*, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 2), nn.Linear(2, num_classes))


def engine(objective):
    parts = {"threat": Linf(eps=0.1), "attack": PGD, "val_attack": PGD, "training": Training()}
    return Distillation(student=small, objective=objective, num_classes=CLASSES, **parts)


def test_the_peer_is_of_the_students_kind_and_another_one():
    first, second = engine(PeerAiD()), engine(PeerAiD())
    assert [p.shape for p in first.objective.peer.parameters()] == [p.shape for p in first.student.parameters()]
    assert not torch.equal(first.objective.peer[1].weight, first.student[1].weight)
    assert torch.equal(first.objective.peer[1].weight, second.objective.peer[1].weight)
    assert len(engine(PeerAiD(peer=linear)).objective.peer) == 3


def test_the_optimiser_gets_the_peer_and_a_checkpoint_holds_it():
    (group,) = engine(PeerAiD()).objective.param_groups()
    assert sum(p.numel() for p in group["params"]) == 37 * CLASSES
    learned, fresh = engine(PeerAiD()), engine(PeerAiD())
    nn.init.ones_(learned.objective.peer[1].weight)
    fresh.load_state_dict(learned.state_dict())
    assert torch.equal(fresh.objective.peer[1].weight, learned.objective.peer[1].weight)


def test_the_peers_hard_labels_are_smoothed():
    objective = built()
    objective.begin(Step(label_smoothing=0.2))
    answer = objective.peer.numbers(2)[1]
    soft = 0.8 * np.eye(CLASSES)[Y.numpy()] + 0.2 / CLASSES
    expected = -(soft * np.log(softmax(answer))).sum() / BATCH
    assert pair(objective, LogitTable(X, X_ADV))[1](X_ADV)["peer_ce"].item() == pytest.approx(expected)
