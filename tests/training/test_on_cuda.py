"""Every recipe's whole step as CUDA would see it, on a machine without one: all on one device, and nobody waits for it.

On fake CUDA tensors, which have shapes and devices and no numbers, torch's engine runs no backward pass without a driver:
there a gradient is a tensor of the shape and place of what it belongs to, and no backward kernel is tried. On the CPU the
whole step runs with all its kernels, and a double refuses whatever makes a host wait.
"""

import pytest
import torch
from graph_double import WaitedError, nobody_waits
from recipe_steps import Steps
from shipped_recipes import CONFIGS, RECIPES
from tiny import generator, images
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ard import Distillation, FreeDistillation

EMA = ["--model.training.average=0.9"]
PARTS = "images", "next_step", "report", "after_step"
LATE = 9  # a step in which all that begins later has begun


def batch(number):
    return images(4, seed=number), torch.randint(4, (4,), generator=generator(number))


def leaves(output):
    """Whatever gets a gradient from it."""
    nodes, seen = [output.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [following for following, _ in node.next_functions]
    return [node.variable for node in seen if hasattr(node, "variable")]


def gradients(output, wanted, *, create_graph=False, **_):
    wanted = [wanted] if isinstance(wanted, torch.Tensor) else wanted
    assert {value.device for value in (output, *leaves(output))} == {output.device}
    return tuple(torch.zeros_like(value) + 0 * (output if create_graph else output.detach()) for value in wanted)


def backward(output):
    for leaf in leaves(output):
        (leaf.grad,) = gradients(output.detach(), leaf.detach())


def to_fake(network, device):
    for part in network.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(fake_like(value, device), requires_grad=value.requires_grad)
        part._buffers.update({name: fake_like(value, device) for name, value in part._buffers.items() if value is not None})


def fake_like(value, device="cuda"):
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)


@pytest.fixture
def fake_cuda(monkeypatch):
    monkeypatch.setattr("torch.autograd.grad", gradients)
    monkeypatch.setattr("torch.Tensor.backward", backward)
    monkeypatch.setattr("torch.cuda.get_rng_state", lambda _: None)
    monkeypatch.setattr("torch.cuda.set_rng_state", lambda *_: None)
    with FakeTensorMode():
        yield


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_step_keeps_to_one_device(recipe, request):
    steps = Steps(recipe)
    steps(0, *batch(0))  # finds what can be folded
    x, y = batch(1)
    request.getfixturevalue("fake_cuda")
    for network in steps.networks():
        to_fake(network, "cuda")
    steps.delta, steps.optimizer = None, steps.optimized()
    with nobody_waits():
        found = steps(LATE, fake_like(x), fake_like(y))
    assert {value.device.type for value in steps.student.state_dict().values()} == {"cuda"}
    assert (found if steps.replays else found.loss).device.type == "cuda"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_nobody_waits_for_a_step(recipe):
    steps = Steps(recipe)
    steps(0, *batch(0))
    x, y = batch(1)
    with nobody_waits():
        steps(LATE, x, y)


def test_a_tensor_that_stayed_behind_and_a_wait_are_found(request):
    steps, (x, y) = Steps(CONFIGS / "methods" / "rslad.yaml"), batch(1)
    steps(0, *batch(0))
    with nobody_waits(), steps.teacher.register_forward_hook(lambda *_: x.sum().item()), pytest.raises(WaitedError):
        steps(LATE, x, y)
    request.getfixturevalue("fake_cuda")
    for network in steps.networks():
        to_fake(network, "cuda")
    to_fake(steps.teacher.networks[0], "cpu")
    with pytest.raises(RuntimeError, match="device"):
        steps(LATE, fake_like(x), fake_like(y))
    steps.teacher = None
    for wait in (torch.Tensor.item, torch.Tensor.cpu, lambda value: value.to("cpu")):
        with nobody_waits(), pytest.raises(WaitedError):
            wait(fake_like(x).sum())


@pytest.mark.parametrize(
    ("recipe", "options"),
    [("b_mtard", []), ("rslad", ["--model.teacher.class_path=ard.models.Cached", *EMA]), ("fast_ard", EMA)],
)
def test_nobody_waits_for_what_the_engine_does_around_a_step(recipe, options, fit, tmp_path, monkeypatch):
    """Augmentation, the objective's state, the average; but where something is logged, as at an epoch's last step."""
    checked = []

    def unwaited(engine, name):
        method = getattr(engine, name)

        def call(self, *arguments):
            batch_idx = self.trainer.fit_loop.epoch_loop.batch_idx
            if self.trainer.current_epoch == 0 or batch_idx != 1:
                return method(self, *arguments)
            checked.append(name)
            with nobody_waits():
                return method(self, *arguments)

        monkeypatch.setattr(engine, name, call)

    for engine in (Distillation, FreeDistillation):
        for name in PARTS:
            unwaited(engine, name)
    few = ["--trainer.limit_train_batches=3", "--trainer.limit_val_batches=0", "--trainer.log_every_n_steps=50"]
    replays = 8 if recipe == "fast_ard" else 1
    fit(tmp_path, recipe, *few, f"--trainer.max_epochs={2 * replays}", *options)
    assert set(checked) == set(PARTS)
