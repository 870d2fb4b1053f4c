"""Networks as people write them, as students, teachers, peers and subjects: they work, or are refused before training."""

from functools import partial
from types import SimpleNamespace

import others
import pytest
import pytorch_lightning as pl
import torch
from others import FiveDimensions, InPlace, InPlaceSameValues, InPlaceWithoutGradient, Plain, Twice, View
from small_runs import digits
from tiny import generator, run_facts, user_error
from torch import nn

import ard
from ard.artifacts.card import Card
from ard.artifacts.weights import save_weights
from ard.attacks import Linf
from ard.data import Digits
from ard.evaluation.evaluation import evaluate_images
from ard.evaluation.suites import Given
from ard.models import Cached, Ensemble, Frozen, load
from ard.models.average import MovingAverage
from ard.models.building import another, choose_memory_format
from ard.objectives.peeraid import PeerAiD
from ard.objectives.pgd_at import PGDAT

pytestmark = pytest.mark.usefixtures("short_attacks")

SHAPE = (1, 8, 8)
KNOWN = {"num_classes": 10, "input_shape": SHAPE}
WRITING = [InPlace, InPlaceWithoutGradient, InPlaceSameValues]


def pixels(count=4):
    return torch.rand(count, *SHAPE, generator=generator())


def trained(student, teacher, method):
    module = ard.Distillation(student=student, teacher=teacher, objective=method, eps=0.1)
    options = {"limit_train_batches": 1, "limit_val_batches": 1, "enable_model_summary": False, "logger": False}
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, enable_progress_bar=False, **options)
    trainer.fit(module, datamodule=Digits(batch_size=32))


def file_of(network, path):
    save_weights(path, network, Card(num_classes=10))
    return str(path)


@pytest.fixture
def roles(tmp_path):
    """How a network gets into a run or an evaluation, by its role there."""
    x, y = digits(20)

    def stored(kind):
        return file_of(kind(), tmp_path / "t.safetensors")

    def peer(kind):
        objective = PeerAiD(peer=kind)
        objective.build(student=Plain, num_classes=10)
        objective.setup(run_facts(num_classes=10, image_shape=SHAPE))

    def given(kind, role):
        evaluate_images(Plain(), x, y, Linf(eps=0.1), given=Given(**{role: kind().eval()}))

    return {
        "teacher": lambda kind: Frozen(weights=stored(kind), network=kind).load(**KNOWN),
        "given": lambda kind: Frozen.of(kind()).load(**KNOWN),
        "cached": lambda kind: Cached(weights=stored(kind), network=kind).load(**KNOWN),
        "member": lambda kind: Ensemble(members=[Frozen.of(Plain()), Frozen.of(kind())]).load(**KNOWN),
        "peer": peer,
        "evaluated": lambda kind: evaluate_images(kind().eval(), x.clone(), y, Linf(eps=0.1)),
        "undefended": lambda kind: given(kind, "undefended"),
        "attacked through": lambda kind: given(kind, "teacher"),
    }


ROLES = ["teacher", "given", "cached", "member", "peer", "evaluated", "undefended", "attacked through"]


@pytest.mark.parametrize("kind", WRITING)
@pytest.mark.parametrize("role", ROLES)
def test_a_network_that_writes_into_its_images_is_refused(role, kind, roles):
    with user_error("writes into the images that it is given, .* x - mean in place of x.sub_"):
        roles[role](kind)


@pytest.mark.parametrize("kind", [InPlace, InPlaceSameValues])
def test_such_a_student_is_refused_before_its_first_step(kind):
    with user_error("the student writes into the images"):
        trained(kind(), None, "pgd_at")


@pytest.mark.parametrize("kind", ["InPlace"])
def test_such_a_student_is_refused_before_its_run_has_a_folder(kind, fit, tmp_path):
    with user_error("the student writes into the images"):
        fit(tmp_path / "run", "pgd_at", student=[f"--model.init_args.student=others.{kind}"])
    assert not any((tmp_path / "run").rglob("*"))


def test_no_other_role_refuses_a_network_that_leaves_them(roles):
    for role in ("given", "cached", "member", "peer"):
        roles[role](Plain)


STUDENTS = {
    "two names": (["others.Twice"], Twice),
    "view": (["others.View"], View),
    "five dimensions": (["others.FiveDimensions"], FiveDimensions),
} | {
    f"{'old ' * old}{how}": (
        ["others.Parametrised", f"how={how}", f"old={str(old).lower()}"],
        partial(others.Parametrised, how=how, old=old),
    )
    for how in ("spectral_norm", "weight_norm")
    for old in (False, True)
}


@pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm. is deprecated")
@pytest.mark.parametrize("name", STUDENTS)
def test_what_is_trained_is_written_and_read(name, fit, tmp_path):
    (path, *arguments), kind = STUDENTS[name]
    words = [f"--model.init_args.student={path}", *(f"--model.init_args.student.init_args.{word}" for word in arguments)]
    engine = fit(tmp_path, "pgd_at_ema", student=words).model
    network, x = load(tmp_path / "student.safetensors", kind), pixels()
    with torch.no_grad():
        assert torch.allclose(network(x), engine.selected(x), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("Lazy", "a network with lazy layers: expected layers that say their sizes"),
        ("Complex", "the student has complex numbers, phase: expected real ones"),
        ("Extra", "the student keeps a dict as _extra_state: expected tensors"),
    ],
)
def test_what_cannot_be_written_is_not_trained(kind, message, fit, tmp_path):
    with user_error(message):
        fit(tmp_path / "run", "pgd_at", student=[f"--model.init_args.student=others.{kind}"])
    assert not [file for file in (tmp_path / "run").rglob("*") if file.is_file()]


class Wrapped(Plain):
    """Has a wrapper around its answer, as a decorator may be."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(super().forward, x)


def without_gradient(forward, x):
    with torch.no_grad():
        return forward(x)


@pytest.mark.parametrize("method", ["adaad", "dgad"])
@pytest.mark.parametrize("answer", [without_gradient, lambda forward, x: forward(x.detach())])
def test_a_teacher_without_a_gradient_is_no_teacher_of_methods_that_follow_it(method, answer):
    """The attack would follow the student's gradient alone, which is another method, and nobody would know."""
    with user_error("follows the gradient of its teacher, and this one has none"):
        trained(Plain(), Wrapped(answer), method)
    trained(Plain(), Wrapped(answer), "rslad")


def test_a_teacher_that_answers_otherwise_each_time_is_told():
    """F.dropout is on in eval mode, too, unless somebody says otherwise."""
    random = Wrapped(lambda forward, x: nn.functional.dropout(forward(x), 0.5))
    with pytest.warns(UserWarning, match=r"answers otherwise each time .* F.dropout\(x, training=self.training\)"):
        Frozen.of(random).load(**KNOWN)
    Frozen.of(Wrapped(lambda forward, x: nn.functional.dropout(forward(x), training=False))).load(**KNOWN)


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is (deprecated|not supported)")
def test_what_torch_jit_has_compiled_may_teach_but_not_learn():
    compiled = torch.jit.script(Plain())
    x, teacher = pixels(), Frozen.of(compiled).load(**KNOWN)
    assert torch.equal(teacher(x), compiled(x))
    trained(Plain(), compiled, "adaad")
    with user_error("a student that torch.jit has compiled: expected the nn.Module"):
        trained(compiled, None, "pgd_at")


def test_a_layer_under_two_names_is_averaged_once():
    averages = []
    for kind in (Plain, Twice):
        torch.manual_seed(0)
        network = kind()
        average = MovingAverage(network, 0.9)
        for _ in range(3):
            with torch.no_grad():
                network.conv.weight.add_(1)
            average.update_parameters(network)
        averages.append(average.module.conv.weight)
    assert torch.equal(*averages)


def test_networks_are_read_in_the_fastest_memory_format_that_they_take():
    usual, fast, deep = View().eval(), Plain().eval(), FiveDimensions().eval()
    expected = [network(pixels()) for network in (usual, fast, deep)]
    assert [choose_memory_format(network, SHAPE) for network in (usual, fast, deep)] == [False, True, True]
    assert choose_memory_format(usual, SHAPE) is False
    x = pixels().contiguous(memory_format=torch.channels_last)
    for network, logits in zip((usual, fast, deep), expected, strict=True):
        torch.testing.assert_close(network(x), logits)
    assert fast.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_teacher_and_a_peer_that_call_view(tmp_path):
    x = torch.rand(4, 1, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    network = View().eval()
    teacher = Frozen(weights=file_of(network, tmp_path / "t.safetensors"), network=View).load(**KNOWN)
    torch.testing.assert_close(teacher(x), network(x.contiguous()))
    assert torch.autograd.grad(teacher(x).sum(), x)[0].abs().max() > 0


@pytest.mark.parametrize("channels", [1, 3])
def test_evaluation_hands_it_its_images_in_the_usual_format(channels):
    x, y = digits(20)
    x = x.expand(-1, channels, -1, -1).contiguous(memory_format=torch.channels_last)
    assert ard.evaluate(View(channels=channels), (x, y), eps=0.1).n == 20


@pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm. is deprecated")
def test_old_weight_normalisation_can_be_copied():
    network = others.Parametrised(how="weight_norm", old=True)
    network(pixels()).sum().backward()
    assert type(another(network)) is type(network)
    assert torch.equal(Frozen.of(network).load(**KNOWN).learner()(pixels()), network(pixels()))


@pytest.mark.parametrize("engine", [ard.Distillation, partial(ard.FreeDistillation, replays=1)], ids=["attack", "replays"])
@pytest.mark.parametrize(
    ("student", "told"),
    [
        (
            others.WithoutGradient(),
            "nothing of the network would be trained, as its answer has no gradient: expected no torch.no",
        ),
        (others.WithoutBackbone(), "an attack finds no gradient in the images: expected no torch.no_grad"),
        (Plain().requires_grad_(False), "no parameter of the student can learn"),
        (
            others.Auxiliary(),
            "the student in train mode returns tuple for 2 images; expected one logit a class .* as a tensor",
        ),
        (others.Auxiliary(kind=dict), "the student in train mode returns dict for 2 images"),
        (others.Auxiliary(kind=SimpleNamespace), "the student in train mode returns SimpleNamespace for 2 images"),
    ],
)
def test_a_student_that_could_not_be_trained_is_refused_before_the_first_step(engine, student, told):
    module = engine(student=student, objective="pgd_at" if engine is ard.Distillation else PGDAT(), eps=0.1)
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, logger=False)
    with user_error(told):
        trainer.fit(module, datamodule=Digits())
    assert trainer.global_step == 0


def test_the_trial_of_a_student_moves_no_statistics_and_draws_nothing():
    student, before = Plain(), torch.get_rng_state()
    state = {name: value.clone() for name, value in student.state_dict().items()}
    module = ard.Distillation(student=student, objective="pgd_at", eps=0.1)
    pl.Trainer(max_epochs=0, accelerator="cpu", enable_checkpointing=False, logger=False).fit(module, datamodule=Digits())
    assert all(torch.equal(value, state[name]) for name, value in student.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)
