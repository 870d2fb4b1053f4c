"""Node alignment against numpy's correlations, and students whose nodes are the teacher's."""

import numpy as np
import pytest
import torch
from tiny import generator, images, labels, run_facts, user_error
from torch import nn

from ard.models import Cached, Ensemble, Frozen
from ard.objectives.node_alignment import NodeAlignment, best_match

X, Y = images(8).double(), labels(8)


def by_numpy(student, teacher):
    """Nodes in columns."""
    both = np.corrcoef(teacher, student, rowvar=False)[: teacher.shape[1], teacher.shape[1] :]
    return both.max(axis=1).mean()


def random(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def columns(nodes):
    return nodes.movedim(1, -1).reshape(-1, nodes.shape[1]).numpy()


@pytest.mark.parametrize("shape", [(), (3,), (4, 5)], ids=str)
def test_best_match_against_numpy(shape):
    student, teacher = random(20, 6, *shape), random(20, 4, *shape, seed=1)
    tokens = len(shape) == 1  # have their places before their nodes
    found = best_match(*(nodes.mT if tokens else nodes for nodes in (student, teacher)))
    assert found.item() == pytest.approx(by_numpy(columns(student), columns(teacher)), abs=1e-6)


def test_a_larger_grid_is_averaged_to_the_smaller_one():
    student, teacher = random(10, 3, 8, 4), random(10, 5, 4, 4, seed=1)
    pooled = student.view(10, 3, 4, 2, 4).mean(dim=3)
    for ours, theirs in ((student, teacher), (teacher, student)):
        ours_pooled, theirs_pooled = (pooled if nodes is student else nodes for nodes in (ours, theirs))
        expected = by_numpy(columns(ours_pooled), columns(theirs_pooled))
        assert best_match(ours, theirs).item() == pytest.approx(expected, abs=1e-6)


def test_permuted_rescaled_and_shifted_nodes_match_and_dead_ones_do_not_count():
    teacher = random(30, 5)
    scales, shifts = random(5).abs() + 0.1, random(5)
    student = (teacher * scales + shifts)[:, torch.randperm(5, generator=generator())]
    assert best_match(student, teacher).item() == pytest.approx(1, abs=1e-5)
    dead = torch.cat([teacher, torch.full((30, 2), 3.0, dtype=torch.float64)], dim=1)
    assert best_match(student, dead).item() == pytest.approx(1, abs=1e-5)
    assert best_match(torch.zeros_like(student), teacher).item() == pytest.approx(0, abs=1e-5)


def network(seed, width, depth=4):
    torch.manual_seed(seed)
    blocks = [layer for _ in range(depth - 1) for layer in (nn.Conv2d(width, width, 3, padding=1), nn.Tanh())]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4)]
    net = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.Tanh(), *blocks, *head).double().eval()
    for parameter in net.parameters():
        parameter.data *= 2  # else variances vanish with depth
    return net


def activations(net):
    """What each layer but the first is given, by walking through."""
    found, x = [], X
    with torch.no_grad():
        for layer in net:
            found += [x] if isinstance(layer, nn.Conv2d | nn.Linear) else []
            x = layer(x)
    return found[1:]


def test_the_term_pairs_layers_by_depth_the_last_with_the_last():
    student, teacher = network(0, 3, depth=6), network(1, 5, depth=4)
    terms = NodeAlignment(strength=0.5, layers=2)(student, teacher, X, Y)[1](X)
    ours, theirs = activations(student), activations(teacher)
    assert (len(ours), len(theirs)) == (6, 4)
    expected = np.mean([1 - by_numpy(columns(ours[a]), columns(theirs[b])) for a, b in ((2, 1), (5, 3))])
    assert terms["nodes"].item() == pytest.approx(0.5 * expected, abs=1e-6)
    assert set(terms) == {"kl_adv", "kl_clean", "nodes"}
    alone = NodeAlignment(strength=0.5, layers=1)(student, teacher, X, Y)[1](X)
    assert alone["nodes"].item() == pytest.approx(0.5 * (1 - by_numpy(columns(ours[5]), columns(theirs[3]))), abs=1e-6)


def test_training_with_it_raises_the_correlation_and_leaves_the_teacher():
    student, teacher = network(0, 6), network(1, 4)
    objective, found = NodeAlignment(layers=2), []
    optimizer = torch.optim.SGD(student.parameters(), lr=0.3)
    for _ in range(20):
        value = objective(student, teacher, X, Y)[1](X)["nodes"]
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        found.append(value.item())
    assert found[-1] < 0.6 * found[0]
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_teachers_whose_nodes_cannot_be_seen_are_refused():
    def loaded(net):
        return Frozen.of(net.float()).load(num_classes=4, input_shape=(1, 6, 6))

    one = loaded(network(0, 3))
    NodeAlignment().setup(run_facts(student=network(1, 3).float(), teacher=one))
    with user_error("a teacher of 2 networks: expected one"):
        NodeAlignment().setup(run_facts(teacher=Ensemble(members=[one, loaded(network(1, 3))])))
    with user_error("the teacher has one layer: expected hidden layers"):
        NodeAlignment().setup(run_facts(teacher=loaded(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)))))

    class LooksUp(Cached):
        def forward(self, x):
            return torch.zeros(len(x), 4, dtype=x.dtype)

    teacher = LooksUp(weights="x")
    teacher._held = [network(0, 3)]
    with user_error("the teacher looked its answer up: expected ard.models.Frozen"):
        NodeAlignment()(network(1, 3), teacher, X, Y)[1](X)
    for options in ({"strength": -1}, {"layers": 0}):
        with user_error("expected at least"):
            NodeAlignment(**options)
