"""The contract of every objective that ard.objectives holds: the pair, its gradients, its manners."""

import copy
import pickle
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from derivatives import assert_slope, directions, held_constant, moving, quotients
from tiny import concrete, generator, images, labels, run_facts, tiny_net, user_error
from torch import nn

import ard.objectives
from ard.attacks import attacking
from ard.losses import AttackLoss
from ard.models import Frozen
from ard.objectives.base import Objective, Step
from ard.objectives.natural import Natural
from ard.objectives.returned import total_loss

OBJECTIVES = concrete(ard.objectives, Objective)
every_objective = pytest.mark.parametrize("kind", OBJECTIVES, ids=lambda kind: kind.__name__)
ASKS_A_COPY = {"CIARD"}  # its teacher learns on; its oracle looks at what that one is asked
KINKED = {"IntervalSensitivity"}  # |W|, whose slope jumps at 0, where differences would step across
MIXES = {"NuAT"}  # a norm of all logits of the batch, as a matrix
# A value of the student's own that their mathematics holds constant; oracles look at it.
DETACH_IN_TRAINING = {"GradAlign", "IKLAT"}


def some_teacher():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 4)).double().eval()


def another_student(*, num_classes):
    return tiny_net(2, classes=num_classes, activation=nn.Softplus)


@torch.no_grad()
def away_from_zero(network):
    for parameter in network.parameters():
        parameter[parameter.abs() < 0.01] = 0.01


def told(objective, teacher, seen_through=lambda facts: facts):
    """What the engine says before training, where all numbers are of single precision."""
    frozen = Frozen()
    frozen._held.append(copy.deepcopy(teacher).float())
    objective.setup_all(seen_through(run_facts(teacher=frozen)))


@pytest.mark.parametrize(
    ("module", "kind", "options", "found"),
    [
        ("iad", "IADI", {"begin": 60}, "begin = 60: expected a share, from 0 to 1"),  # the paper's epoch
        ("iad", "IADII", {"alpha_1": 0.8, "alpha_2": 0.3}, "alpha_1 . alpha_2 = 1.1: expected a share"),
        ("mtard", "CIARD", {"start": 50}, "start = 50: expected a share"),
        ("rslad", "RSLAD", {"alpha": 5}, "alpha = 5: expected a share"),
        ("ard", "ARD", {"temperature": 0}, "temperature = 0: expected above 0"),
        ("kd", "KD", {"alpha": -0.1}, "alpha = -0.1: expected a share"),
        ("adaad", "AdaAD", {"alpha": 2}, "alpha = 2: expected a share"),
        ("absld", "ABSLD", {"coolest": 2, "warmest": 1}, "warmest = 1: expected at least 2"),
        ("fair_ard", "FairARD", {"lightest": 3}, "heaviest = 2.5: expected at least 3"),
        ("akd", "AKD", {"alpha": float("nan")}, "alpha = nan: expected a share"),
        ("akd", "AKD2", {"alpha": 0.6, "beta": 0.5}, "alpha . beta = 1.1: expected a share"),
        ("peeraid", "PeerAiD", {"peer_temperature": 0}, "peer_temperature = 0: expected above 0"),
    ],
)
def test_numbers_of_which_the_formula_makes_no_sense_are_refused(module, kind, options, found):
    with user_error(found):
        getattr(import_module(f"ard.objectives.{module}"), kind)(**options)


@every_objective
def test_a_second_fit_goes_on_with_what_the_first_one_left(kind):
    objective, facts = kind(), run_facts(teacher=Frozen().of(some_teacher().float()))
    facts.teacher.load(num_classes=4, input_shape=(1, 6, 6))
    objective.build_all(student=another_student, num_classes=4)
    objective.setup_all(facts)
    parts = [part for part in objective.parts() if not isinstance(part, Frozen)]
    buffers = {name: value for part in parts for name, value in part.named_buffers(recurse=False)}
    for value in buffers.values():
        value.copy_(torch.full_like(value, 3))
    objective.setup_all(replace(facts, fitted_before=True))
    after = {name: value for part in parts for name, value in part.named_buffers(recurse=False)}
    assert after.keys() == buffers.keys()
    assert all((value == 3).all() for value in after.values())


class Scene:
    """One batch, a smooth student in eval mode, teachers of another kind whose parameters could take a gradient."""

    def __init__(self, kind):
        self.objective = kind()
        self.objective.build_all(student=another_student, num_classes=4)
        self.student = tiny_net(0, activation=nn.Softplus).double().eval()
        if kind.__name__ in KINKED:
            away_from_zero(self.student)
        self.teacher = some_teacher()
        self.teachers = [self.teacher]
        told(self.objective, self.teacher)
        self.objective.double().eval()
        for part in self.objective.modules():
            if isinstance(part, Frozen):
                part._held.append(some_teacher())
                self.teachers.append(part._held[0])
        self.x, self.y = images().double(), labels()
        centre = AttackLoss.centre_of(self.pair()[0], self.x)
        self.x_adv = (centre + 0.2 * (images(len(centre), seed=1) - 0.5)).clamp(0, 1)

    def pair(self):
        # some terms fade in from 0
        self.objective.begin(Step(generator=generator(), epoch=1, batch=1, progress=0.5, eps=0.1))
        with attacking(self.student, self.objective):
            teacher = self.teacher if self.objective.needs_teacher else None
            attack_loss, training_loss = self.objective(self.student, teacher, self.x, self.y)
        return attack_loss, self.drawn_alike(training_loss)

    def learners(self):
        """The objective's own parameters that are trained."""
        return [(name, own) for name, own in self.objective.named_parameters() if own.requires_grad]

    def drawn_alike(self, training_loss):
        """What a training loss draws, it draws the same at every call: else there is nothing to differentiate."""

        def called(x_adv):
            self.objective.begin(replace(self.objective.step, generator=generator(1)))
            return training_loss(x_adv)

        return called


@pytest.fixture
def scene(kind):
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return Scene(kind)


def test_discovery_finds_the_methods():
    assert {"ARD", "KD", "Natural", "PGDAT", "RSLAD", "TRADES"} <= {kind.__name__ for kind in OBJECTIVES}


@every_objective
def test_the_shape_of_the_pair(scene):
    attack_loss, training_loss = scene.pair()
    if attack_loss is not None:
        values = attack_loss(scene.x_adv)
        assert values.shape == (len(scene.x_adv),)
        assert values.isfinite().all()
    if isinstance(attack_loss, AttackLoss) and attack_loss.seen is not None:
        assert attack_loss.seen.shape == values.shape
    terms = training_loss(scene.x_adv)
    assert total_loss(terms).requires_grad
    for name, term in terms.items():
        assert isinstance(name, str)
        assert term.shape in ((), (4,), (4, 4)), "a term is a number, or an observation for each class, or for each two"
        assert term.requires_grad == (term.ndim == 0)
        assert term.isfinite().all()


@every_objective
def test_every_terms_gradient_is_right(scene):
    """Against central differences; the pair is built once, so that what the body holds constant stays constant."""
    _, training_loss = scene.pair()
    if type(scene.objective).__name__ in DETACH_IN_TRAINING:
        training_loss = held_constant(training_loss)
    moved = moving(training_loss, scene.x_adv, list(scene.student.parameters()))
    # What a second learner only says to the first one is detached from it.
    moved |= moving(training_loss, scene.x_adv, [own for _, own in scene.learners()], only_movers=True)
    expected = {name for name, term in training_loss(scene.x_adv).items() if term.ndim == 0}
    assert moved == expected, "DETACH_IN_TRAINING of this file has losses that hold a gradient of their own constant"


@every_objective
def test_the_attacks_gradient_is_right(scene):
    attack_loss, _ = scene.pair()
    if attack_loss is None:
        pytest.skip("the method trains without an attack")
    x_adv = scene.x_adv.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(attack_loss(x_adv).sum(), x_adv)
    assert gradient.norm() > 1e-4
    for (direction,) in directions([scene.x_adv]):
        with torch.no_grad():
            found = quotients(lambda t, d=direction: {"attack loss": attack_loss(scene.x_adv + t * d).sum().item()})
        assert_slope((gradient * direction).sum().item(), found["attack loss"], gradient.norm().item())


@every_objective
def test_examples_do_not_mix_in_the_attacks_loss(scene):
    attack_loss, _ = scene.pair()
    if attack_loss is None:
        pytest.skip("the method trains without an attack")
    before, moved = attack_loss(scene.x_adv), scene.x_adv.clone()
    moved[0] = scene.x[0]
    after = attack_loss(moved)
    assert after[0] != before[0]
    others = torch.arange(len(before)) % len(scene.x) != 0  # the points of one image may know of each other
    if type(scene.objective).__name__ in MIXES:
        assert (after != before).all()
    else:
        torch.testing.assert_close(after[others], before[others])


@every_objective
def test_the_student_learns_everywhere_and_the_teacher_nowhere(scene):
    teacher_before = copy.deepcopy(scene.teacher.state_dict())
    _, training_loss = scene.pair()
    total_loss(training_loss(scene.x_adv)).backward()
    for name, parameter in [*scene.student.named_parameters(), *scene.learners()]:
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert all(parameter.grad is None for teacher in scene.teachers for parameter in teacher.parameters())
    assert all(torch.equal(value, teacher_before[name]) for name, value in scene.teacher.state_dict().items())


@every_objective
def test_the_training_loss_has_no_side_effects(scene):
    buffers = copy.deepcopy(scene.objective.state_dict())
    _, training_loss = scene.pair()
    first, second = training_loss(scene.x_adv), training_loss(scene.x_adv)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(value, buffers[name]) for name, value in scene.objective.state_dict().items())


@every_objective
def test_a_teacher_is_asked_only_by_methods_that_say_so(scene):
    if not scene.objective.needs_teacher:
        attack_loss, training_loss = scene.objective(scene.student, None, scene.x, scene.y)
        assert attack_loss is None or attack_loss(scene.x_adv).isfinite().all()
        assert training_loss(scene.x_adv)
    elif type(scene.objective).__name__ not in ASKS_A_COPY:
        with pytest.raises(TypeError):
            scene.objective(scene.student, None, scene.x, scene.y)[1](scene.x_adv)
        asked = []
        scene.teacher.register_forward_hook(lambda _, inputs, __: asked.append(inputs[0]))
        _, training_loss = scene.pair()
        training_loss(scene.x_adv)
        training_loss(scene.x_adv)
        assert asked
        assert sum(images is scene.x for images in asked) <= 1, "what it says of clean images holds for the whole batch"
        if scene.objective.asks_only_x:
            assert all(images is scene.x for images in asked)


class Watched:
    """Facts, or a step, that know what of them was asked."""

    def __init__(self, of, asked):
        self.of, self.asked = of, asked

    def __getattr__(self, name):
        self.asked.add(name)
        return getattr(self.of, name)


def asked_of_a_run(scene):
    """What an objective asks of a run, from its setup to the end of its first epoch."""
    asked, kind = set(), type(scene.objective)
    scene.objective.begin(Watched(Step(generator=generator(), epoch=1, batch=1, progress=0.5, eps=0.1), asked))
    with attacking(scene.student, scene.objective):
        teacher = scene.teacher if scene.objective.needs_teacher else None
        attack_loss, training_loss = scene.objective(scene.student, teacher, scene.x, scene.y)
    if attack_loss is not None:
        attack_loss(scene.x_adv)
    terms = {name: term.detach() for name, term in training_loss(scene.x_adv).items()}
    scene.objective.after_step_all(terms, scene.student)
    scene.objective.on_epoch_end_all()
    fresh = kind()
    fresh.build_all(student=another_student, num_classes=4)
    told(fresh, scene.teacher, lambda facts: Watched(facts, asked))
    return asked


def assert_says_whether_it_goes_by_the_share(scene):
    goes = bool({"progress", "max_epochs"} & asked_of_a_run(scene))
    assert goes == any(part.follows_progress for part in scene.objective.parts())


@every_objective
def test_a_method_that_goes_by_the_share_of_training_says_so(scene):
    assert_says_whether_it_goes_by_the_share(scene)


class Growing(Natural):
    def forward(self, student, teacher, x, y):
        return None, lambda x_adv: {"ce": self.progress * Natural.forward(self, student, teacher, x, y)[1](x_adv)["ce"]}


class Timed(Natural):
    def setup(self, run):
        self.epochs = run.max_epochs


@pytest.mark.parametrize("kind", [Growing, Timed])
def test_a_method_that_does_not_say_so_is_found(scene):
    with pytest.raises(AssertionError):
        assert_says_whether_it_goes_by_the_share(scene)


@every_objective
def test_pickle_and_state_dict_give_the_same_objective(scene):
    expected = scene.pair()[1](scene.x_adv)
    fresh = type(scene.objective)()
    fresh.build_all(student=another_student, num_classes=4)
    fresh.load_state_dict(scene.objective.state_dict())  # to validate; what goes on is told first
    told(fresh, scene.teacher)
    fresh.double().load_state_dict(scene.objective.state_dict())
    for part, loaded in zip(fresh.modules(), scene.objective.modules(), strict=True):
        if isinstance(part, Frozen):
            part._held.extend(loaded._held)
    for twin in (pickle.loads(pickle.dumps(scene.objective)), fresh.eval()):
        scene.objective = twin
        found = scene.pair()[1](scene.x_adv)
        assert {name: term.tolist() for name, term in found.items()} == {n: t.tolist() for n, t in expected.items()}


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (
            {"a": torch.zeros(()), "clean": torch.zeros(3, requires_grad=True)},
            r"term \"clean\" .* shape \(3,\): expected a scalar",
        ),
        ({"a": torch.zeros(3)}, "no term that is a scalar"),
        ({}, "no term that is a scalar"),
        ({"a": 1.0}, 'term "a" .* is a float: expected a scalar tensor'),
        (torch.zeros(()), "returned a Tensor: expected a dictionary"),
    ],
    ids=["a vector that learns", "vectors alone", "nothing", "a number", "a tensor"],
)
def test_terms_that_would_be_lost_are_refused(terms, words):
    with user_error(words):
        total_loss(terms)
    assert total_loss({"a": torch.tensor(2.0), "b": torch.tensor(1.0), "seen": torch.ones(3)}) == 3


class Own(Objective):
    """A method that returns what the test says, else what its teacher answers."""

    def __init__(self, returned=None):
        super().__init__()
        self.returned = returned

    def forward(self, student, teacher, x, y):  # noqa: ARG002
        return self.returned or teacher(x)


@pytest.mark.parametrize("returned", [abs, (abs,), (abs, abs, abs), (1, abs), (abs, 1), [abs, abs]], ids=repr)
def test_a_method_that_returns_something_else_than_two_losses_is_refused(returned):
    with user_error(r"Own returned .*: expected two functions of the attacked images, \(attack_loss, training_loss\)"):
        Own(returned)(None, None, images(), labels())
    assert Own((None, abs))(None, None, images(), labels()) == (None, abs)


def test_a_method_that_forgot_to_say_that_it_wants_a_teacher_is_told_so():
    with pytest.raises(TypeError) as raised:
        Own()(None, None, images(), labels())
    assert raised.value.__notes__ == ["Own is given no teacher, since it does not say needs_teacher = True"]
