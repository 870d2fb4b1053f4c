"""The attack as a graph against the attack as it is written: the same bits, through a double that records and replays."""

import warnings
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from graph_double import WaitedError, recorded
from recipe_steps import Steps
from shipped_recipes import RECIPES, content
from tiny import generator, images, tiny_net
from torch import nn

from ard.attacks import PGD, Linf
from ard.core.flops import count_flops
from ard.losses import AttackLoss, cross_entropy
from ard.models import Cached
from ard.models.average import MovingAverage
from ard.objectives.ard import ARD
from ard.objectives.base import Objective, Step
from ard.training import recording
from ard.training.captured import MOST, Graphs
from ard.training.config_digest import essentials
from ard.training.step import attack_batch

TRAIN_MODE = "the student is attacked in train mode"
NOT_CAPTURED = {
    **{
        f"{name}-as-released": TRAIN_MODE
        for name in ["adr", "akd2", "ard", "fair_ard", "fgsm_rs", "grad_align", "iad_i", "iad_ii", "nfgsm", "pgd_at"]
    },
    **dict.fromkeys(["liet-as-released", "pgd_at_awp-as-released"], TRAIN_MODE),
    **dict.fromkeys(["adr", "rslad_adr"], "ADR reads progress of each step for its attack"),
    "ard_another_image": "LessKnown reads generator of each step for its attack",
    "grad_align": "GradAlign reads generator of each step for its attack",
    "kd": "KD attacks nothing",
    **dict.fromkeys(["kd_one_hot", "kd_same_odds", "kd_class_mean", "kd_another_image"], "LessKnown attacks nothing"),
    **dict.fromkeys(["liet", "liet_ard", "liet_rslad"], "LIET reads epoch, generator of each step for its attack"),
    **dict.fromkeys(["nuat", "nuat-as-released"], "NuAT reads batch, epoch, generator of each step for its attack"),
    "natural": "Natural attacks nothing",
    "rslad_region": "RegionAT attacks nothing",
}
PROGRESS = "it reads progress of each step"
NOT_LEARNED = dict.fromkeys(
    [
        *["adaad_igdm", "adaiad", "adaiad-as-released", "ciard", "ciard-as-released", "iad_i", "iad_ii", "rslad_igdm"],
        *["rslad_igdm-as-released", "saad", "saad-as-released"],
    ],
    PROGRESS,
)
REPLAYED = [recipe for recipe in RECIPES if content(recipe)["model"]["class_path"] != "ard.FreeDistillation"]
ARD_RECIPE = next(recipe for recipe in RECIPES if recipe.stem == "ard")


def graphs():
    return Graphs(recorded, "cpu")


def batch(number, count=4):
    return images(count, seed=number), torch.randint(4, (count,), generator=generator(number))


@contextmanager
def said(found):
    """The lines that a user would see."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    found += [str(warning.message) for warning in caught]


def assert_same(ours, theirs):
    assert torch.equal(ours.x_adv, theirs.x_adv)
    assert {name: term.tolist() for name, term in ours.terms.items()} == {n: t.tolist() for n, t in theirs.terms.items()}


def assert_same_state(ours, theirs):
    for part in ("student", "objective"):
        pairs = zip(getattr(ours, part).state_dict().items(), getattr(theirs, part).state_dict().items(), strict=True)
        assert [name for (name, value), (_, other) in pairs if not torch.equal(value, other)] == []


@pytest.mark.parametrize("recipe", REPLAYED, ids=lambda path: path.stem)
def test_every_recipe_trains_to_the_same_bits_or_says_why_it_is_not_captured(recipe):
    """Weights, BatchNorm statistics, the objective's state, images and progress change from step to step."""
    eager, graph, lines = Steps(recipe), Steps(recipe, graphs()), []
    with said(lines):
        for number in range(6):
            assert_same(graph(number, *batch(number)), eager(number, *batch(number)))
            if number == 2:
                eager.objective.on_epoch_end_all()
                graph.objective.on_epoch_end_all()
    assert_same_state(graph, eager)
    assert graph.attack_batch.reason == NOT_CAPTURED.get(recipe.stem), "NOT_CAPTURED of this file has the reason"
    assert graph.attack_batch.captures == (recipe.stem not in NOT_CAPTURED)
    assert graph.attack_batch.training_reason == NOT_LEARNED.get(recipe.stem), "NOT_LEARNED of this file has the reason"
    learned = graph.attack_batch._now is not None and graph.attack_batch._now.lesson is not None
    assert learned == (recipe.stem not in NOT_CAPTURED | NOT_LEARNED)
    reasons = [graph.attack_batch.reason, graph.attack_batch.training_reason]
    assert [line.rpartition(": ")[2] for line in lines] == [said for said in reasons if said and "nothing" not in said]


def test_what_is_not_captured_is_a_recipe():
    assert set(NOT_CAPTURED | NOT_LEARNED) <= {recipe.stem for recipe in REPLAYED}


def test_a_replay_sees_weights_and_batches_of_now():
    """Else the comparison above would show nothing: without a change, or with a stale one, the images differ."""
    steps = Steps(ARD_RECIPE, graphs())
    for number in range(2):
        steps(number, *batch(number))
    first = steps(2, *batch(2)).x_adv.clone()
    assert not torch.equal(first, steps(2, *batch(2)).x_adv)  # its weights have moved
    assert steps.attack_batch.captures == 1


@pytest.mark.parametrize("cache", [True, False])
def test_under_autocast_with_and_without_its_cache(cache):
    eager, graph = Steps(ARD_RECIPE), Steps(ARD_RECIPE, graphs())
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=cache):
        for number in range(4):
            torch.clear_autocast_cache()  # as at the end of a step's context
            assert_same(graph(number, *batch(number)), eager(number, *batch(number)))
        assert torch.is_autocast_cache_enabled() == cache
    assert_same_state(graph, eager)


def test_the_training_loss_is_captured_on_leaves_that_no_stream_knows():
    """A step that is still remembered has nodes on the stream it ran on, which a capture on CUDA must not wait for."""
    seen, captured = [], []

    def watching(run):
        seen.clear()
        answer = recorded(run)
        captured.append({id(parameter) for parameter in seen})
        return answer

    steps = Steps(ARD_RECIPE, Graphs(watching, "cpu"))
    known = {id(parameter) for parameter in steps.student.parameters()}
    steps.student.register_forward_pre_hook(lambda net, _: seen.extend(net.parameters()))
    for number in range(3):
        steps(number, *batch(number))
    attack, loss = captured
    assert attack & known
    assert not loss & known
    assert {id(parameter) for parameter in steps.student.parameters()} == known


def test_a_loss_that_is_scaled_scales_its_gradients():
    """As where gradients are accumulated over batches."""

    class Scaled(Steps):
        def descend(self, terms, undo=lambda: None):
            super().descend({name: 0.3 * term for name, term in terms.items()}, undo)

    eager, graph = Scaled(ARD_RECIPE), Scaled(ARD_RECIPE, graphs())
    for number in range(4):
        graph(number, *batch(number))
        eager(number, *batch(number))
    for name, value in eager.student.state_dict().items():
        torch.testing.assert_close(graph.student.state_dict()[name], value)


class ByReference(nn.Module):
    """A student that reads a weight from a list of its own."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 4, 6)
        self.weights = [self.layer.weight]

    def forward(self, x):
        return (self.layer(x) + nn.functional.conv2d(x, self.weights[0])).flatten(1)


def test_a_weight_that_is_read_by_reference_learns_without_a_graph_of_the_loss():
    steps, lines = [Steps(ARD_RECIPE), Steps(ARD_RECIPE, graphs())], []
    for one in steps:
        torch.manual_seed(0)
        one.student = ByReference()
        one.optimizer = one.optimized()
    eager, graph = steps
    with said(lines):
        for number in range(4):
            assert_same(graph(number, *batch(number)), eager(number, *batch(number)))
    assert_same_state(graph, eager)
    assert graph.attack_batch.training_reason == "a weight is read through something else than its own layer, such as a list"
    assert len(lines) == graph.attack_batch.captures == 1


def weaker(steps):
    steps.attack.step_size /= 2


def wider(steps):
    steps.attack.ball.eps *= 2


def cooler(steps):
    steps.objective.temperature = 2.0


def replaced(steps):
    steps.student[0].weight = nn.Parameter(steps.student[0].weight.detach().clone())


def noted(steps):
    steps.objective.settings = {"weight": [0.5], "classes": {1}}  # an objective may keep its numbers in a dict, or a set


def unfrozen(steps):
    steps.student[0].requires_grad_(True)


def gentler(steps):
    steps.student[2].negative_slope = 0.5


def sharpened(steps):
    steps.teacher.networks[0][2].scales[0] = 2.0


class Scaled(nn.LeakyReLU):
    """A layer that keeps its numbers in a list."""

    def __init__(self):
        super().__init__()
        self.scales = [1.0]

    def forward(self, x):
        return super().forward(self.scales[0] * x)


def with_settings(steps):
    """Begins with a first layer that learns nothing, and activations that have settings."""
    steps.student[0].requires_grad_(False)
    for network in (steps.student, steps.teacher.networks[0]):
        network[2] = Scaled()
    return steps


CHANGES = [weaker, wider, cooler, noted, replaced, unfrozen, gentler, sharpened]


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_graph_holds_fast_may_change(change):
    eager, graph = with_settings(Steps(ARD_RECIPE)), with_settings(Steps(ARD_RECIPE, graphs()))
    for number in range(6):
        assert_same(graph(number, *batch(number)), eager(number, *batch(number)))
        if number == 2:
            change(eager)
            change(graph)
    assert graph.attack_batch.captures == 2


def test_another_shape_is_another_graph_and_too_many_are_none():
    eager, graph, lines = Steps(ARD_RECIPE), Steps(ARD_RECIPE, graphs()), []
    with said(lines):
        for number, count in enumerate([4, 4, 3, 4, 3, 4, *[count for count in range(5, 10) for _ in range(2)], 4]):
            assert_same(graph(number, *batch(number, count)), eager(number, *batch(number, count)))
    assert [line.partition(": ")[2] for line in lines] == [f"batches, weights or settings changed {MOST} times"]
    assert graph.attack_batch._held == {}


def test_a_network_that_counts_its_calls_is_said_to_be_no_graph():
    """Its settings are others in every step: it would stay eager without a word."""
    lines, recipe = [], Steps(ARD_RECIPE, graphs())
    recipe.student.calls = 0
    recipe.student.register_forward_pre_hook(lambda net, _: setattr(net, "calls", net.calls + 1))
    with said(lines):
        for number in range(MOST + 4):
            recipe(number, *batch(number))
    assert [line.partition(": ")[2] for line in lines] == [f"batches, weights or settings changed {MOST} times"]


def test_an_average_that_a_method_keeps_is_no_setting_that_changes():
    """It counts its updates, on which nothing that a graph holds depends."""
    steps, lines = Steps(ARD_RECIPE, graphs()), []
    steps.objective.average = MovingAverage(steps.student, 0.9)
    with said(lines):
        for number in range(MOST + 4):
            steps(number, *batch(number))
            steps.objective.average.update_parameters(steps.student)
    assert (lines, steps.attack_batch.captures) == ([], 1)


def test_a_capture_that_fails_is_said_once_and_costs_nothing():
    def refuses(run):  # noqa: ARG001
        """As on CUDA: the error that ends a capture, and then one of the capture's own."""
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might be ...")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")

    eager, graph, lines = Steps(ARD_RECIPE), Steps(ARD_RECIPE, Graphs(refuses, "cpu")), []
    with said(lines):
        for number in range(4):
            assert_same(graph(number, *batch(number)), eager(number, *batch(number)))
    wish = "the attack is not captured as a CUDA graph, which would be faster"
    assert lines == [f"{wish}: operation not permitted when stream is capturing"]


def test_without_memory_for_the_graph_of_the_loss_that_of_the_attack_goes_too():
    """It holds what the loss needs without a graph."""
    runs = []

    def full(run):
        runs.append(run)
        if len(runs) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return recorded(run)

    eager, graph, lines = Steps(ARD_RECIPE), Steps(ARD_RECIPE, Graphs(full, "cpu")), []
    with said(lines):
        for number in range(5):
            assert_same(graph(number, *batch(number)), eager(number, *batch(number)))
    assert (len(runs), graph.attack_batch._held, len(lines)) == (2, {}, 2)
    assert all("CUDA out of memory" in line for line in lines)


class Waiting(nn.Module):
    """A student that looks at its own answers."""

    def __init__(self):
        super().__init__()
        self.network = tiny_net()

    def forward(self, x):
        logits = self.network(x)
        return logits * 2 if logits.max() > 100 else logits


class Odd(Objective):
    """An attack that begins, or searches, where nobody expects it."""

    def __init__(self, start, centre):
        super().__init__()
        self.starts, self.centres = start, centre

    def forward(self, student, teacher, x, y):  # noqa: ARG002
        loss = lambda x_adv: cross_entropy(student(x_adv), y)  # noqa: E731
        start, centre = (x + 0.05).clamp(0, 1) if self.starts else None, x.flip(0) if self.centres else None
        return AttackLoss(loss, start=start, centre=centre), lambda x_adv: {"ce": loss(x_adv).mean()}


def called(attack_batch, number, *, objective=None, student=None, teacher=None, attack=None):
    x, y = batch(number)
    attack = attack or PGD(Linf(eps=0.1), steps=2)
    parts = student or tiny_net(), teacher or tiny_net(1), objective or ARD(), attack
    return attack_batch(*parts, x, y, Step(progress=number / 10), generator(number))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"student": Waiting()}, "Tensor.__bool__ waits for the device"),
        ({"objective": Odd(start=False, centre=True)}, "Odd searches around other images than the batch's"),
        ({"objective": Odd(start=True, centre=False)}, None),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value or [None])),
)
def test_parts_of_a_users_own(options, reason):
    parts, lines = {"student": tiny_net(), "teacher": tiny_net(1), "attack": PGD(Linf(eps=0.1)), **options}, []
    graph = graphs()
    with said(lines):
        for number in range(4):
            assert torch.equal(called(graph, number, **parts).x_adv, called(attack_batch, number, **parts).x_adv)
    assert (graph.reason, len(lines)) == (reason, reason is not None)


def test_a_teacher_that_looks_its_logits_up_and_a_counted_step_are_not_captured():
    graph, teacher = graphs(), Cached(weights="x")
    teacher._held = [tiny_net(1)]
    with pytest.warns(UserWarning, match="looks its logits up"):
        called(graph, 0, teacher=teacher)
    graph, parts = graphs(), {"student": tiny_net(), "teacher": tiny_net(1), "attack": PGD(Linf(eps=0.1))}
    counts = [count_flops(lambda number=number: called(graph, number, **parts)) for number in range(3)]
    assert counts[0] == counts[1] == counts[2] > 0
    assert (graph.captures, graph.reason) == (0, None)


@pytest.mark.parametrize("obstacle", ["float16", "SyncBatchNorm", "progress"])
def test_a_training_loss_that_cannot_be_a_graph_says_why(obstacle):
    graph, student = graphs(), tiny_net()
    assert graph._obstacle(student) is None
    if obstacle == "progress":
        graph._read.add("progress")
    student = nn.SyncBatchNorm.convert_sync_batchnorm(student) if obstacle == "SyncBatchNorm" else student
    with torch.autocast("cpu", torch.float16, enabled=obstacle == "float16"):
        said = graph._obstacle(student)
    expected = {
        "float16": "scaled in float16",
        "SyncBatchNorm": "waits for other devices",
        "progress": "reads progress of each",
    }
    assert expected[obstacle] in said


def test_the_double_refuses_what_a_capture_refuses():
    mask = torch.tensor([True, False])
    for asks in (torch.Tensor.item, lambda x: x[mask], lambda x: x.nonzero(), lambda x: torch.tensor([1.0]) + x.sum()):
        with pytest.raises(WaitedError):
            recorded(lambda asks=asks: asks(torch.ones(2).sum() if asks is torch.Tensor.item else torch.ones(2)))


def test_cuda_is_asked_for_a_graph_that_bears_other_threads(monkeypatch):
    asked = []

    class Graph:
        def replay(self):
            asked.append("replayed")

    @contextmanager
    def graph(one, **options):
        asked.append((type(one), options))
        yield

    monkeypatch.setattr("torch.cuda.CUDAGraph", Graph)
    monkeypatch.setattr("torch.cuda.graph", graph)
    answer, replay = recording.cuda_graph(lambda: "answer")
    replay()
    assert (answer, asked) == ("answer", [(Graph, {"capture_error_mode": "thread_local"}), "replayed"])


@pytest.mark.parametrize("wanted", [True, False])
def test_training_captures_by_itself_unless_told_not_to(fit, tmp_path, monkeypatch, wanted):
    made = []
    monkeypatch.setattr("ard.training.distillation.Graphs", lambda: made.append(graphs()) or made[-1])
    few = ["--trainer.limit_train_batches=4", "--trainer.limit_val_batches=0"]
    ours = fit(tmp_path / "graph", "rslad", *few, f"--model.cuda_graph={str(wanted).lower()}").model
    assert [one.captures for one in made] == [1] * wanted
    assert ours.attack_batch is attack_batch
    monkeypatch.setattr("ard.training.distillation.Graphs", partial(Graphs, recorded, "cuda"))
    theirs = fit(tmp_path / "eager", "rslad", *few).model
    assert_same_state(ours, theirs)


def test_a_config_that_says_it_is_the_same_run():
    config = {"trainer": {"precision": None}, "model": {"init_args": {}}, "data": {"init_args": {}}}
    said = {**config, "model": {"init_args": {"cuda_graph": False}}}
    assert essentials(said) == essentials(config)
