"""The contract of every objective that ard.objectives holds: the pair, its gradients, its manners."""

import copy
import pickle
from contextlib import contextmanager

import pytest
import torch
from tiny import concrete, generator, images, labels, tiny_net
from torch import nn

import ard.objectives
from ard.attacks import Counted, attacking
from ard.models import Frozen
from ard.objectives.base import Objective, descended

OBJECTIVES = concrete(ard.objectives, Objective)
every_objective = pytest.mark.parametrize("kind", OBJECTIVES, ids=lambda kind: kind.__name__)
DETACH_IN_OUTER = {"GradAlign"}  # a value of the student's own that their mathematics holds constant; oracles look at it
STEP = 1e-5  # of the central differences, whose error is about its square in float64


def some_teacher():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 4)).double().eval()


def another_student(*, num_classes):
    return tiny_net(2, classes=num_classes, activation=nn.Softplus)


class Scene:
    """One batch, a smooth student in eval mode, teachers of another kind whose parameters could take a gradient."""

    def __init__(self, kind):
        self.objective = kind()
        self.objective.build(student=another_student, num_classes=4)
        self.objective.double().eval().setup(num_classes=4, class_counts=[1, 1, 1, 1], eps=0.1, max_epochs=2)
        self.objective.generator = generator()
        self.student = tiny_net(0, activation=nn.Softplus).double().eval()
        self.teacher = some_teacher()
        self.teachers = [self.teacher, *(part for part in self.objective.modules() if isinstance(part, Frozen))]
        for teacher in self.teachers[1:]:
            teacher._held.append(some_teacher())
        self.x, self.y = images().double(), labels()
        count = self.objective.views
        start = torch.cat([self.x] * count)
        self.x_adv = (start + 0.2 * (images(4 * count, seed=1) - 0.5)).clamp(0, 1)

    def pair(self):
        self.objective.generator = generator()
        with attacking(self.student, self.objective):
            teacher = self.teacher if self.objective.needs_teacher else None
            inner, outer = self.objective(self.student, teacher, self.x, self.y)
        return Counted(inner) if self.objective.counts_survival and inner else inner, self.drawn_alike(outer)

    def drawn_alike(self, outer):
        """What an outer loss draws, it draws the same at every call: else there is nothing to differentiate."""

        def called(x_adv):
            self.objective.generator = generator(1)
            return outer(x_adv)

        return called


@pytest.fixture
def scene(kind):
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return Scene(kind)


def assert_close_relative(found, expected, scale):
    """Relative to `scale` where the derivative happens to be tiny along a direction."""
    assert abs(found - expected) <= 1e-5 * max(abs(expected), 1e-3 * scale), (found, expected)


@contextmanager
def playing_back(detached):
    """Every detach() of the block answers with what `detached` has from the first block, and in its order."""
    original, kept = torch.Tensor.detach, iter(detached or ())

    def recorded(tensor):
        detached.append(original(tensor).clone())
        return original(tensor)

    torch.Tensor.detach = (lambda _: original(next(kept))) if detached else recorded
    try:
        yield
    finally:
        torch.Tensor.detach = original


def moving(outer, x_adv, parameters, *, only_movers=False):
    """The terms that move the parameters. Their slopes are checked, and unless `only_movers` those of the others to be 0."""
    if not parameters:
        return set()
    home = [parameter.detach().clone() for parameter in parameters]
    gradients = {
        name: torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True)
        for name, term in outer(x_adv).items()
        if term.ndim == 0
    }
    scales = {name: sum(g.square().sum() for g in gradient).sqrt() for name, gradient in gradients.items()}
    movers = {name for name, scale in scales.items() if scale > 1e-4}
    for direction in directions(parameters):
        ends = []
        for step in (STEP, -STEP):
            with torch.no_grad():
                for parameter, start, d in zip(parameters, home, direction, strict=True):
                    parameter.copy_(start + step * d)
            ends.append(outer(x_adv))
        for name in movers if only_movers else gradients:
            slope = sum((g * d).sum() for g, d in zip(gradients[name], direction, strict=True))
            assert_close_relative(slope, (ends[0][name] - ends[1][name]) / (2 * STEP), scales[name])
    return movers


def held_constant(outer):
    """What the first call of `outer` detaches stays so in the others."""
    detached = []

    def called(x_adv):
        with playing_back(detached):
            return outer(x_adv)

    return called


def directions(tensors, count=3):
    for seed in range(count):
        random = generator(seed)
        yield [torch.randn(t.shape, generator=random, dtype=t.dtype) for t in tensors]


def test_discovery_finds_the_methods():
    assert {"ARD", "KD", "Natural", "PGDAT", "RSLAD", "TRADES"} <= {kind.__name__ for kind in OBJECTIVES}


@every_objective
def test_the_shape_of_the_pair(scene):
    inner, outer = scene.pair()
    if inner is not None:
        values = inner(scene.x_adv)
        assert values.shape == (4 * scene.objective.views,)
        assert values.isfinite().all()
    if isinstance(inner, Counted):
        assert inner.count.shape == (4,)
    terms = outer(scene.x_adv)
    assert descended(terms).requires_grad
    for name, term in terms.items():
        assert isinstance(name, str)
        assert term.shape in ((), (4,)), "a term is a number, or an observation for each class"
        assert term.requires_grad == (term.ndim == 0)
        assert term.isfinite().all()


@every_objective
def test_every_terms_gradient_is_right(scene):
    """Against central differences; the pair is built once, so that what the body holds constant stays constant."""
    _, outer = scene.pair()
    if type(scene.objective).__name__ in DETACH_IN_OUTER:
        outer = held_constant(outer)
    moved = moving(outer, scene.x_adv, list(scene.student.parameters()))
    # What a second learner only says to the first one is detached from it.
    moved |= moving(outer, scene.x_adv, list(scene.objective.parameters()), only_movers=True)
    assert moved == {name for name, term in outer(scene.x_adv).items() if term.ndim == 0}


@every_objective
def test_the_attacks_gradient_is_right(scene):
    inner, _ = scene.pair()
    if inner is None:
        pytest.skip("the method trains without an attack")
    x_adv = scene.x_adv.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(inner(x_adv).sum(), x_adv)
    assert gradient.norm() > 1e-4
    for (direction,) in directions([scene.x_adv]):
        with torch.no_grad():
            ends = [inner(scene.x_adv + step * direction).sum() for step in (STEP, -STEP)]
        assert_close_relative((gradient * direction).sum(), (ends[0] - ends[1]) / (2 * STEP), gradient.norm())


@every_objective
def test_examples_do_not_mix_in_the_attacks_loss(scene):
    inner, _ = scene.pair()
    if inner is None:
        pytest.skip("the method trains without an attack")
    before, moved = inner(scene.x_adv), scene.x_adv.clone()
    moved[0] = scene.x[0]
    after = inner(moved)
    assert after[0] != before[0]
    torch.testing.assert_close(after[1:], before[1:])


@every_objective
def test_the_student_learns_everywhere_and_the_teacher_nowhere(scene):
    teacher_before = copy.deepcopy(scene.teacher.state_dict())
    _, outer = scene.pair()
    descended(outer(scene.x_adv)).backward()
    for name, parameter in [*scene.student.named_parameters(), *scene.objective.named_parameters()]:
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert all(parameter.grad is None for teacher in scene.teachers for parameter in teacher.parameters())
    assert all(torch.equal(value, teacher_before[name]) for name, value in scene.teacher.state_dict().items())


@every_objective
def test_outer_has_no_side_effects(scene):
    buffers = copy.deepcopy(scene.objective.state_dict())
    _, outer = scene.pair()
    first, second = outer(scene.x_adv), outer(scene.x_adv)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(value, buffers[name]) for name, value in scene.objective.state_dict().items())


@every_objective
def test_a_teacher_is_asked_only_by_methods_that_say_so(scene):
    if not scene.objective.needs_teacher:
        inner, outer = scene.objective(scene.student, None, scene.x, scene.y)
        assert inner is None or inner(scene.x_adv).isfinite().all()
        assert outer(scene.x_adv)
    else:
        with pytest.raises(TypeError), attacking(scene.student, scene.objective):
            scene.objective(scene.student, None, scene.x, scene.y)
        calls = []
        scene.teacher.register_forward_hook(lambda *_: calls.append(1))
        scene.pair()
        assert calls == [1]


@every_objective
def test_pickle_and_state_dict_give_the_same_objective(scene):
    expected = scene.pair()[1](scene.x_adv)
    fresh = type(scene.objective)()
    fresh.build(student=another_student, num_classes=4)
    fresh.double().load_state_dict(scene.objective.state_dict())
    for twin in (pickle.loads(pickle.dumps(scene.objective)), fresh.eval()):
        twin.generator = generator()
        scene.objective = twin
        found = scene.pair()[1](scene.x_adv)
        assert {name: term.tolist() for name, term in found.items()} == {n: t.tolist() for n, t in expected.items()}
