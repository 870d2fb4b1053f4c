"""`ard evaluate`: what cannot be measured is refused in one line with status 2; no record is left, nothing runs."""

import pickle

import pytest
from small_runs import NETWORK, cli, files_below, narrow, write_weights, write_yaml


def flat(options):
    return [part for option in options.items() for part in option]


def refused(capsys, *arguments):
    """The one line with which a command is refused; no record may be left."""
    status, out, err = cli(capsys, "evaluate", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("ard: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(("missing", "found"), [("--network", "network"), ("--data", "add --data"), ("--eps", "add --eps")])
def test_each_thing_that_a_state_dict_lacks_is_one_clear_line(missing, found, place, foreign, capsys):
    options = {key: value for key, value in foreign.items() if key != missing}
    assert found in refused(capsys, "plain.pt", *flat(options))
    assert not list(place.glob("*.json"))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--eps", "8"], "did you mean 8/255"),
        (["--eps", "8/abc"], "8/abc"),
        (["--eps", "-0.1"], "eps = -0.1"),
        (["--limit", "0"], "--limit 0: expected 1 to 400"),
        (["--limit", "401"], "--limit 401: expected 1 to 400"),
        (["--limit", "201", "--split", "val"], "--limit 201: expected 1 to 200"),
        (["--suite", "quikc"], "--suite quikc: expected one of quick"),
        (["--norm", "L3"], "L2"),
        (["--norm", "L2"], "--norm L2: the weights name a radius of Linf; add --eps"),
        (["--split", "train"], "val"),
        (["--limit", "many"], "a whole number"),
        (["--splt", "val"], "did you mean 'split'"),
        (["--data", "nope.yaml"], "nope.yaml: no such base config"),
        (["--network", "nope.yaml"], "nope.yaml: no such config file"),
    ],
    ids=" ".join,
)
def test_options_that_cannot_be_meant_are_one_line(options, found, place, capsys):
    weights = write_weights(place / "student.safetensors")
    assert found in refused(capsys, weights, *options)
    assert files_below(place) == ["student.safetensors"]


@pytest.mark.parametrize("option", ["--data", "--network"])
@pytest.mark.parametrize(
    "content", ["a: [1", "- 1", "", "class_path: ard.models.Resnet\ndata: {class_path: ard.data.Digit}"]
)
def test_files_of_options_that_say_nothing_are_one_line(option, content, place, capsys):
    weights = write_weights(place / "student.safetensors")
    file = write_yaml(place / "part.yaml", content)
    refused(capsys, weights, option, file)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"data": {"class_path": "small_runs.Digits", "init_args": {}}}, "not of ard.data"),
        ({"data": {"class_path": "os.system", "init_args": {"command": "touch ran"}}}, "not of ard.data"),
        ({"data": {"class_path": "ard.data.base.torch.hub.load"}}, "ard.data"),
        ({"data": {"class_path": "ard.data.Digit"}}, "did you mean 'Digits'"),
        ({"data": {"init_args": {}}}, "data"),
        ({"data": "ard.data.Digits"}, "data"),
        ({"threat": {"norm": "L7", "eps": 0.1}}, "L7"),
        ({"threat": {"norm": "Linf", "eps": "wide"}}, "wide"),
        ({"threat": "Linf"}, "threat"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_card_that_cannot_be_followed_is_one_line(changes, found, place, capsys):
    weights = write_weights(place / "student.safetensors", **changes)
    assert found in refused(capsys, weights)
    assert files_below(place) == ["student.safetensors"]


def test_weights_that_do_not_fit_the_data_are_one_line(place, capsys):
    five = write_weights(place / "five.safetensors", narrow(5), num_classes=5)
    assert "5 classes, data has 10 classes" in refused(capsys, five)
    colour = {**NETWORK, "in_channels": 3}
    weights = write_weights(place / "colour.safetensors", narrow(in_channels=3), init_args=colour)
    assert "cannot read images of shape (1, 8, 8)" in refused(capsys, weights)
    assert "nope.safetensors: no such file" in refused(capsys, "nope.safetensors")


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["evil.pt", "evil.ckpt", "evil.safetensors"])
def test_nothing_in_a_file_of_weights_runs(name, place, foreign, capsys):
    (place / name).write_bytes(pickle.dumps({"state_dict": Touch(str(place / "marker"))}))
    refused(capsys, name, *flat(foreign))
    assert not (place / "marker").exists()
    assert not list(place.glob("*.json"))
