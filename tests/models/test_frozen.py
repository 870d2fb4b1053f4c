"""Teachers: never trained, never saved, never in train mode, but they follow their student and pass gradients."""

import copy
import hashlib
from functools import partial

import pytest
import torch
from tiny import generator, user_error
from torch import nn

from ard.artifacts.card import Card
from ard.artifacts.weights import save_weights
from ard.models import Frozen, ResNet

SMALL = {"blocks": [1, 1], "width": 4, "in_channels": 1}
CARD = Card(class_path="ard.models.ResNet", init_args=SMALL, num_classes=3)
SHAPE = (1, 8, 8)


@pytest.fixture
def path(tmp_path):
    save_weights(tmp_path / "teacher.safetensors", ResNet(num_classes=3, **SMALL), CARD)
    return tmp_path / "teacher.safetensors"


@pytest.fixture
def teacher(path):
    return Frozen(weights=str(path)).load(num_classes=3, input_shape=SHAPE)


@pytest.fixture
def parent(teacher):
    return nn.ModuleDict({"student": nn.Linear(2, 2), "teacher": teacher})


def pixels():
    return torch.rand(2, *SHAPE, generator=generator())


def test_it_leaves_no_trace_in_its_parent(parent, teacher):
    alone = {f"student.{key}" for key in ("weight", "bias")}
    assert {name for name, _ in parent.named_parameters()} == parent.state_dict().keys() == alone
    assert list(teacher.buffers()) == []
    assert list(teacher.modules()) == [teacher]


def test_it_stays_in_eval_mode(parent, teacher):
    expected = teacher(pixels())
    parent.train()
    assert torch.equal(teacher(pixels()), expected)  # BatchNorm in train mode would answer otherwise, and would move
    parent.requires_grad_(True)
    teacher(pixels().requires_grad_()).sum().backward()
    assert torch.equal(teacher(pixels()), expected)


def test_it_follows_its_parent(parent, teacher):
    single = teacher(pixels())
    parent.double()
    torch.testing.assert_close(teacher(pixels().double()), single.double())
    assert teacher(pixels().double()).dtype == torch.float64
    parent.to(torch.bfloat16)
    assert teacher(pixels().bfloat16()).dtype == torch.bfloat16
    parent.to("meta")
    assert teacher(pixels().bfloat16().to("meta")).device.type == "meta"


def test_it_passes_gradients_to_its_input_and_takes_none(teacher):
    x = pixels().requires_grad_()
    logits = teacher(x)
    logits.sum().backward()
    assert x.grad.abs().max() > 0
    assert not teacher(pixels()).requires_grad


def test_a_deep_copy_is_the_same_teacher(parent, teacher):
    twin = copy.deepcopy(parent)
    assert twin["teacher"] is teacher
    assert twin["student"] is not parent["student"]


def test_it_loads_once_and_when_told(path):
    teacher = Frozen(weights=str(path))
    assert not teacher.loaded
    with pytest.raises(RuntimeError, match=r"teacher\.safetensors was asked before it was loaded"):
        teacher(pixels())
    expected = teacher.load(num_classes=3, input_shape=SHAPE)(pixels())
    assert teacher.loaded
    assert teacher.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    assert torch.equal(teacher.load(num_classes=3, input_shape=SHAPE)(pixels()), expected)


def test_building_one_needs_no_file():
    teacher = Frozen(weights="absent.safetensors")
    with user_error("absent.safetensors: no such file"):
        teacher.load(num_classes=3, input_shape=SHAPE)


@pytest.mark.fault(16)
def test_the_wrong_number_of_classes_states_both(path, observed):
    with user_error(r"teacher\.safetensors.*\b3\b.*data has 10 classes") as caught:
        Frozen(weights=str(path)).load(num_classes=10, input_shape=SHAPE)
    observed(caught.value)


@pytest.mark.parametrize("error", [None, AssertionError, ValueError, RuntimeError])
def test_images_it_cannot_read(error, path):
    """Convolutions refuse a shape with RuntimeError, vision transformers with AssertionError."""

    class Fussy(ResNet):
        def forward(self, x):
            if error is not None:
                raise error("Input height (8) doesn't match model (224).\nsecond line")
            return super().forward(x)

    teacher = Frozen(weights=str(path), network=partial(Fussy, **SMALL))
    with user_error(r"cannot read images of shape \(3, 8, 8\)"):
        teacher.load(num_classes=3, input_shape=(3, 8, 8))
    assert not teacher.loaded


ODD_ANSWERS = {
    "tuple": lambda z: (z, z),
    "row": lambda z: z[0],
    "map": lambda z: z[..., None],
    "one column": lambda z: z[:, :1],
    "a class more": lambda z: torch.cat([z, z[:, :1]], dim=1),
}


@pytest.mark.fault(17)
@pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
def test_answers_that_are_no_logits(answer, path, observed):
    class Odd(ResNet):
        def forward(self, x):
            return answer(super().forward(x))

    with user_error("data has 3 classes") as caught:
        Frozen(weights=str(path), network=partial(Odd, **SMALL)).load(num_classes=3, input_shape=SHAPE)
    observed(f"refused: {caught.value}")
