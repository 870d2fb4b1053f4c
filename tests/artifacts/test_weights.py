"""Weights on disk: round trips, prefixes, and files that do not fit."""

import json
from argparse import Namespace
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import generator, user_error
from torch import nn

from ard.artifacts.card import Card, card_from
from ard.artifacts.facts import Recipe
from ard.artifacts.weights import card_of, read_weights, save_weights
from ard.models import Frozen, Normalized, ResNet, Timm, Torchvision, load

SMALL = {"blocks": [1, 1], "width": 4, "in_channels": 1}
RECIPE = Recipe(engine="ard.Distillation", class_path="ard.objectives.ard.ARD")
CARD = Card(class_path="ard.models.ResNet", init_args=SMALL, num_classes=3, recipe=RECIPE)
PIXELS = torch.rand(2, 1, 8, 8, generator=generator())


def small(seed=0, num_classes=3):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = ResNet(num_classes=num_classes, **SMALL)
        network(torch.rand(8, 1, 8, 8))  # moves BatchNorm's statistics off their start
    return network.eval()


@pytest.fixture
def saved(tmp_path):
    """Writes a state dict, plain or as the file a trainer leaves, and gives its path."""

    def save(content, name="weights.pt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


def assert_same(found, expected):
    assert not any(module.training for module in found.modules())
    with torch.no_grad():
        assert torch.equal(found(PIXELS), expected(PIXELS))


def test_round_trip_with_a_card(tmp_path):
    network, path = small(), tmp_path / "student.safetensors"
    save_weights(path, network, CARD)
    found = load(path)
    assert type(found) is ResNet
    assert_same(found, network)
    assert card_of(path) == read_weights(path)[1] == CARD
    assert [file.name for file in tmp_path.iterdir()] == ["student.safetensors"]  # no temporary file stays


def test_round_trip_of_a_nested_network(tmp_path):
    network = Normalized(network=partial(ResNet, **SMALL), mean=[0.4], std=[0.3], num_classes=3).eval()
    inner = {"class_path": "ard.models.ResNet", "init_args": SMALL}
    init_args = {"network": inner, "mean": [0.9], "std": [0.9]}
    card = Card(class_path="ard.models.Normalized", init_args=init_args, num_classes=3)
    save_weights(tmp_path / "n.safetensors", network, card)
    assert_same(load(str(tmp_path / "n.safetensors")), network)


def test_saving_replaces_and_takes_any_memory_format(tmp_path):
    path = tmp_path / "student.safetensors"
    save_weights(path, small(0), CARD)
    network = small(1).to(memory_format=torch.channels_last)
    save_weights(path, network.state_dict(), CARD)
    assert_same(load(path), small(1))


def test_weights_without_a_card_want_a_network(tmp_path, saved):
    save_file(small().state_dict(), tmp_path / "bare.safetensors")
    for path in (tmp_path / "bare.safetensors", saved(small().state_dict())):
        with user_error("does not say which network it is for"):
            load(path)
        assert_same(load(path, partial(ResNet, **SMALL)), small())


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    "prefix", ["module.", "model.", "student.", "_orig_mod.", "module.model.", "model._orig_mod.", "backbone.", "1."]
)
def test_prefixes_are_stripped_from_the_front(prefix, saved, observed):
    state = {prefix + key: value for key, value in small().state_dict().items()}
    assert_same(load(saved(state), partial(ResNet, **SMALL)), small())
    observed(f"{prefix} is stripped: the same logits")


@pytest.mark.fault(15)
def test_prefixes_are_stripped_from_the_front_only(saved):
    """A network whose own names hold the prefixes: `model.module.head` must not become `head` or `model.head`."""

    class Nested(nn.Module):
        def __init__(self, num_classes):
            super().__init__()
            self.model = nn.ModuleDict({"module": nn.Linear(4, num_classes), "student": nn.Linear(4, num_classes)})

    network = Nested(3)
    for prefix in ("", "module.", "model.", "module.model."):
        state = {prefix + key: value for key, value in network.state_dict().items()}
        found = load(saved(state), Nested).state_dict()
        assert all(torch.equal(value, found[key]) for key, value in network.state_dict().items())


def test_of_a_lightning_checkpoint_the_average_is_taken(saved):
    raw = {f"student.{key}": value for key, value in small(0).state_dict().items()}
    average = {f"average.module.{key}": value for key, value in small(1).state_dict().items()}
    rest = {"average.n_averaged": torch.tensor(3), "objective.weights": torch.ones(3)}
    network = partial(ResNet, **SMALL)
    assert_same(load(saved({"state_dict": raw | average | rest, "epoch": 3}), network), small(1))
    assert_same(load(saved({"state_dict": raw, "epoch": 3}), network), small(0))
    assert_same(load(saved({"state_dict": raw, "ard": CARD.tree})), small(0))
    assert_same(load(saved({"model": small(1).state_dict(), "optimizer": {}}), network), small(1))


class Holder(nn.Module):
    """A wrapper of one's own, with a name of its own for the network and numbers that the constructor knows."""

    def __init__(self, num_classes):
        super().__init__()
        self.mean, self.backbone = nn.Buffer(torch.zeros(1)), ResNet(num_classes=num_classes, **SMALL)

    def forward(self, x):
        return self.backbone(x - self.mean)


def inside(network):
    """The plain network in Normalized, which changes nothing."""
    return partial(Normalized, network=network, mean=[0.0], std=[1.0])


@pytest.mark.fault(15)
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    "network", [inside(partial(ResNet, **SMALL)), inside(inside(partial(ResNet, **SMALL))), Holder], ids=["1", "2", "own"]
)
def test_a_plain_state_dict_fills_the_network_inside_a_wrapper(network, prefix, saved):
    path = saved({prefix + key: value for key, value in small().state_dict().items()})
    assert_same(load(path, network), small())
    with user_error("does not fit .*: [0-9]+ of [0-9]+ tensors found; missing: head.bias; unexpected: none"):
        load(saved(without(small().state_dict(), "head.bias")), network)


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    ("kind", "name", "create"),
    [
        (Torchvision, "shufflenet_v2_x0_5", "torchvision.models:get_model"),
        (Timm, "mobilenetv3_small_050", "timm:create_model"),
    ],
)
def test_plain_files_of_libraries_fill_our_wrappers_of_them(kind, name, create, saved, observed):
    package, _, function = create.partition(":")
    plain = getattr(pytest.importorskip(package), function)(name, num_classes=3)
    path, x = saved(plain.state_dict()), torch.rand(2, 3, 32, 32, generator=generator())
    normalised = partial(Normalized, network=partial(kind, name=name), mean=[0.5] * 3, std=[0.25] * 3)
    with torch.no_grad():
        assert torch.equal(load(path, partial(kind, name=name))(x), plain.eval()(x))
        assert torch.equal(load(path, normalised)(x), plain((x - 0.5) / 0.25))
    observed(f"a plain state dict of {name} into {kind.__name__}, and that in Normalized: the same logits")


@pytest.mark.fault(15)
def test_counters_may_be_missing_or_be_left_over(saved, observed):
    """Files from before torch 0.4.1 have none, thop leaves its own."""
    state = small().state_dict()
    old = {key: value for key, value in state.items() if "num_batches_tracked" not in key}
    thop = {f"{key.rpartition('.')[0]}.{name}": torch.ones(1) for key in state for name in ("total_ops", "total_params")}
    averaged = {f"module.{key}": value for key, value in state.items()} | {"n_averaged": torch.tensor(3)}
    for name, found in {"old": old, "thop": state | thop | {"total_ops": torch.ones(1)}, "averaged": averaged}.items():
        assert_same(load(saved(found), partial(ResNet, **SMALL)), small())
        observed(f"{name}: read, the same logits")


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    ("content", "seed"),
    [
        (lambda: {"net": small(0).state_dict(), "acc": 91.2, "epoch": 199}, 0),
        (lambda: {"model_state_dict": small(0).state_dict(), "optimizer_state_dict": {"state": {}}}, 0),
        (lambda: {"student_weights": small(0).state_dict(), "optimizer": {"state": {}, "param_groups": []}}, 0),
        (lambda: {"model": small(0).state_dict(), "best_acc1": torch.tensor(71.0)}, 0),
        (lambda: {"state_dict": small(0).state_dict(), "state_dict_ema": small(1).state_dict(), "args": Namespace(lr=1)}, 1),
        (lambda: {"model": small(0).state_dict(), "model_ema": small(1).state_dict()}, 1),
    ],
    ids=["kuangliu", "torch's tutorial", "the only one", "a tensor beside it", "timm", "torchvision"],
)
def test_checkpoints_of_other_trainers(content, seed, saved):
    assert_same(load(saved(content()), partial(ResNet, **SMALL)), small(seed))


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    "names",
    [["n_averaged"], [""], ["."], ["a" + "." * 10_000], ["weight", "n_averaged"]],
    ids=["counter", "empty", "dot", "dots", "both"],
)
def test_odd_names_have_an_end(names, saved):
    with user_error("0 of [0-9]+ tensors found"):
        load(saved({name: torch.ones(3, 3) for name in names}), partial(ResNet, **SMALL))


@pytest.mark.fault(15)
def test_of_a_file_without_a_state_dict_its_keys_are_named(saved):
    with user_error("holds no state dict; expected one, or one under .*model_state_dict.*; its keys: epoch, generator, a"):
        load(saved({"epoch": 3, "generator": small(0).state_dict(), "a": small(1).state_dict()}), partial(ResNet, **SMALL))


@pytest.mark.fault(15)
def test_the_head_need_not_be_the_last_matrix_of_a_file(saved):
    """Files of safetensors have their names in the order of the alphabet."""
    layers = nn.ModuleDict({"body": nn.Linear(64, 8), "head": nn.Linear(8, 3)})

    class Network(nn.Module):
        def __init__(self, *, num_classes):
            super().__init__()
            self.layers = nn.ModuleDict({"body": nn.Linear(64, 8), "head": nn.Linear(8, num_classes)})

        def forward(self, x):
            return self.layers["head"](self.layers["body"](x.flatten(1)))

    path = saved({f"layers.{key}": value for key, value in reversed(layers.state_dict().items())})
    Frozen(weights=str(path), network=Network).load(num_classes=3, input_shape=(1, 8, 8))


class ConvolutionalHead(nn.Module):
    """As SqueezeNet's: no matrix says how many classes there are."""

    def __init__(self, *, num_classes):
        super().__init__()
        self.classifier = nn.Conv2d(1, num_classes, 1)

    def forward(self, x):
        return self.classifier(x).mean(dim=(2, 3))


@pytest.mark.fault(15)
def test_where_weights_do_not_say_how_many_classes_there_are_the_data_do(saved):
    network = ConvolutionalHead(num_classes=3).eval()
    path = saved(network.state_dict())
    teacher = Frozen(weights=str(path), network=ConvolutionalHead).load(num_classes=3, input_shape=(1, 8, 8))
    assert torch.equal(teacher(PIXELS), network(PIXELS))
    with user_error(r"classifier.weight is \(3, 1, 1, 1\) in the file, \(10, 1, 1, 1\) in the network"):
        Frozen(weights=str(path), network=ConvolutionalHead).load(num_classes=10, input_shape=(1, 8, 8))
    with user_error("holds no linear layer .*; its tensors: classifier.weight, classifier.bias"):
        load(path, ConvolutionalHead)


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.fault(14, 15)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "head.bias"), r"of 30 tensors found; missing: head\.bias; unexpected: none"),
        (lambda s: s | {"extra.bias": torch.ones(1)}, r"missing: none; unexpected: extra\.bias"),
        (lambda s: s | {"head.weight": torch.ones(3, 9)}, r"head\.weight is \(3, 9\) in the file, \(3, 8\) in the net"),
        (lambda s: {f"{k}.other": v for k, v in s.items()}, r"0 of 30 tensors found; missing: stem\.weight"),
    ],
    ids=["missing", "extra", "shape", "foreign"],
)
def test_what_does_not_fit_is_named(change, message, tmp_path, saved, observed):
    state = change(small().state_dict())
    message = message.replace("30", str(len(small().state_dict())))
    save_weights(tmp_path / "w.safetensors", state, CARD)
    with user_error(message):
        load(tmp_path / "w.safetensors")
    with user_error(message) as caught:
        load(saved(state), partial(ResNet, **SMALL))
    observed(caught.value)


def test_the_number_of_classes_is_read_from_the_head(saved):
    assert load(saved(small(num_classes=6).state_dict()), partial(ResNet, **SMALL)).head.out_features == 6
    with user_error("holds no linear layer"):
        load(saved({"weight": torch.ones(3)}), partial(ResNet, **SMALL))


def test_a_card_lies_in_the_metadata_as_json(tmp_path):
    save_weights(tmp_path / "w.safetensors", small(), CARD)
    data = (tmp_path / "w.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert card_from(header["__metadata__"]["model"], "w") == CARD
    assert json.loads(header["__metadata__"]["model"]) == CARD.tree
    assert load_file(tmp_path / "w.safetensors").keys() == small().state_dict().keys()


def test_weights_of_another_network_than_the_one_named_say_which(tmp_path):
    """Also where the network named is far larger than the file: its size is the user's own word, not the file's."""
    network, path, large = small(), tmp_path / "student.safetensors", partial(ResNet, width=96)
    save_weights(path, network, replace(CARD, class_path="ard.models.MobileNetV2"))
    with user_error(
        r"student.safetensors is for ard.models.MobileNetV2 and does not fit ard.models.ResNet: \d+ of \d+ tensors"
    ):
        load(path, large)
    numbers = sum(value.numel() for value in network.state_dict().values())
    torch.save(network.state_dict(), tmp_path / "plain.pt")
    held = rf"plain.pt holds {numbers:,} numbers in {len(network.state_dict())} tensors and does not fit ard.models.ResNet: "
    with user_error(held):
        load(tmp_path / "plain.pt", large)


def test_a_named_network_that_cannot_be_built_is_not_the_files_fault(tmp_path):
    save_weights(tmp_path / "student.safetensors", small(), CARD)
    with user_error("the network named for .*student.safetensors cannot be built"):
        load(tmp_path / "student.safetensors", partial(ResNet, depth=3))


def test_what_a_later_version_says_more_is_ignored_at_any_depth():
    """Else one new fact would make all weights of that version unreadable here."""
    section = {"norm": "Linf", "eps": 0.03, "shape": "a cube"}
    card = card_from({"num_classes": 3, "threat": section, "colour": "blue"}, "w")
    assert (card.num_classes, card.threat.eps) == (3, 0.03)
