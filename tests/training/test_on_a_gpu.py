"""On a machine with a GPU: what the doubles of test_captured.py and test_on_cuda.py stand for. Skipped on every other."""

import warnings
from contextlib import contextmanager

import pytest
import torch
from recipe_steps import Steps
from shipped_recipes import CONFIGS, RECIPES
from test_captured import NOT_CAPTURED, NOT_LEARNED, REPLAYED, batch

from ard.attacks import PGD, Linf
from ard.core.randomness import keyed_generator
from ard.models import MobileNetV2, ResNet
from ard.objectives.base import Step
from ard.objectives.rslad import RSLAD
from ard.training.captured import Graphs
from ard.training.step import attack_batch, take

if not torch.cuda.is_available():
    pytest.skip("this machine has no CUDA GPU", allow_module_level=True)

SIZES = {"MobileNetV2": MobileNetV2, "ResNet-18": ResNet}
PRECISIONS = [None, torch.bfloat16, torch.float16]
KERNELS_DIFFER = 1e-3  # share of pixels: a sum in another order turns the sign of a gradient that is almost zero


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    """Kernels that give the same bits each time."""
    monkeypatch.setattr("torch.backends.cudnn.deterministic", True)
    monkeypatch.setattr("torch.backends.cudnn.benchmark", False)


@contextmanager
def waits_are_errors():
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the mode is a prototype
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_gpu(number):
    return [part.cuda() for part in batch(number)]


def state(steps):
    return {
        f"{part} {name}": value
        for part in ("student", "objective")
        for name, value in getattr(steps, part).state_dict().items()
    }


@pytest.mark.parametrize("recipe", REPLAYED, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:the .* is not captured")
def test_every_recipe_trains_the_same_from_a_graph(recipe):
    eager, graph = Steps(recipe, device="cuda"), Steps(recipe, Graphs(), device="cuda")
    for number in range(6):
        ours, theirs = graph(number, *on_gpu(number)), eager(number, *on_gpu(number))
        assert (ours.x_adv != theirs.x_adv).float().mean() <= KERNELS_DIFFER
        if number == 2:
            eager.objective.on_epoch_end_all()
            graph.objective.on_epoch_end_all()
    assert graph.attack_batch.reason == NOT_CAPTURED.get(recipe.stem)
    assert graph.attack_batch.captures == (recipe.stem not in NOT_CAPTURED)
    assert graph.attack_batch.training_reason == NOT_LEARNED.get(recipe.stem)
    for name, value in state(eager).items():
        torch.testing.assert_close(
            state(graph)[name], value, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore:the .* is not captured")
def test_the_host_waits_for_no_step(recipe, captured):
    """After the first two: there folding is verified, and there the graph is captured."""
    steps = Steps(recipe, Graphs() if captured else attack_batch, device="cuda")
    batches = [on_gpu(number) for number in range(4)]
    for number in (0, 1):
        steps(number, *batches[number])
    with waits_are_errors():
        for number in (2, 3):
            steps(number, *batches[number])


class Trained:
    """A student of real size that learns from another, step after step."""

    def __init__(self, kind, precision, graphs=None):
        torch.manual_seed(0)
        student, teacher = (kind(num_classes=10).cuda().to(memory_format=torch.channels_last) for _ in range(2))
        self.moving = student.train(), teacher.eval().requires_grad_(False), RSLAD(), PGD(Linf(eps=8 / 255), steps=3)
        self.options = {} if graphs is None else {"attack_batch": graphs, "learn": graphs.learn}
        self.optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)
        self.cast = {"dtype": precision or torch.float16, "enabled": precision is not None, "cache_enabled": False}

    def __call__(self, number):
        draws = keyed_generator("cuda", "test", number)
        x = torch.rand(32, 3, 32, 32, device="cuda", generator=draws).contiguous(memory_format=torch.channels_last)
        y = torch.randint(10, (32,), device="cuda", generator=draws)
        with torch.autocast("cuda", **self.cast):
            taken = take(*self.moving, x, y, Step(progress=number / 10), generator=draws, **self.options)
        self.optimizer.zero_grad()
        taken.loss.backward()
        self.optimizer.step()
        return taken.x_adv.clone(), taken.loss.detach()


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("kind", SIZES.values(), ids=SIZES)
@pytest.mark.filterwarnings("ignore:the training loss is not captured as a CUDA graph. its gradients are scaled in float16")
def test_networks_of_real_size_learn_the_same_from_graphs(kind, precision):
    graphs = Graphs()
    eager, graph = Trained(kind, precision), Trained(kind, precision, graphs)
    differ, losses = [], []
    for number in range(5):
        (ours, our_loss), (theirs, their_loss) = graph(number), eager(number)
        differ.append(float((ours != theirs).float().mean()))
        losses.append((float(our_loss), float(their_loss)))
    assert (graphs.captures, graphs.reason) == (1, None)
    assert (graphs._now.lesson is None) == (precision == torch.float16)
    assert max(differ[:3]) <= KERNELS_DIFFER, (differ, losses)  # later steps blow rounding up
    assert losses[2][0] == pytest.approx(losses[2][1], rel=1e-2), losses


@pytest.mark.filterwarnings("ignore:the .* is not captured")
def test_replays_need_no_more_memory():
    steps = Steps(CONFIGS / "methods" / "rslad.yaml", Graphs(), device="cuda")
    held = []
    for number in range(8):
        steps(number, *on_gpu(number))
        held.append(torch.cuda.memory_allocated())
    assert len(set(held[3:])) == 1
