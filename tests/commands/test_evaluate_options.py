"""`ard evaluate`: what its options, models and images may be; a refusal is one line, and leaves nothing behind."""

import pytest
import torch
from interruptions import lying
from small_runs import NETWORK, cli, narrow, trained, write_weights, write_yaml
from torch import nn

from ard.data import Digits
from ard.data.loading import MemoryImages

pytestmark = pytest.mark.usefixtures("short_attacks")

TAUGHT = ["--suite", "full", "--teacher", "student.safetensors"]


class Inside(nn.Module):
    def __init__(self, *, num_classes):
        super().__init__()
        self.network = narrow(num_classes)


class Tuple(Inside):
    def forward(self, x):
        return self.network(x), x


class Scalar(Inside):
    def forward(self, x):
        return self.network(x).amax(dim=1)


class Detached(Inside):
    def forward(self, x):
        return self.network(x).detach()


class Graphless(Inside):
    def forward(self, x):
        with torch.no_grad():
            return self.network(x)


class Particular(Inside):
    """As timm's vision transformers are about the size of images."""

    def forward(self, x):
        assert x.shape[-1] == 224, f"Input width ({x.shape[-1]}) doesn't match model (224)."
        return self.network(x)


class Nowhere(Inside):
    def forward(self, x):
        return self.network(x) * torch.nan


class NoImages(Digits):
    def test_images(self):
        images = super().test_images()
        return MemoryImages(images.pixels[:0], images.labels[:0])


def refused(capsys, place, *arguments):
    """The one line with which a command is refused, that leaves the folder as it was."""
    before = lying(place)
    status, out, err = cli(capsys, "evaluate", *arguments)
    assert (status, out, err.count("\n"), lying(place)) == (2, "", 1, before)
    assert err.startswith("ard: ")
    return err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seed", "-1"], "--seed -1: expected an int from 0 to 4294967295"),
        (["--seed", f"{10**23}"], "expected an int from 0 to 4294967295"),
        (["--shard", "3/2"], "--shard 3/2: expected k/n with k from 1 to n"),
        (["--shard", "0/2"], "--shard 0/2"),
        (["--shard", "1/0"], "--shard 1/0"),
        (["--shard", "x"], "--shard x"),
        (["--shard=-1/2"], "--shard -1/2"),
        (["--shard", "1/2/3"], "--shard 1/2/3"),
        (["--transfer", "other.safetensors"], "add --suite full"),
        (["--suite", "full", "--transfer", "nope.safetensors"], "nope.safetensors: no such file"),
        (["--suite", "full", "--transfer", "student.safetensors,nope.safetensors"], "nope.safetensors: no such file"),
        (["--suite", "full", "--transfer", "junk.safetensors"], "junk.safetensors"),
        (["--suite", "standard", "--teacher", "nope.safetensors"], "nope.safetensors: no such file"),
        (["--suite", "standard", "--teacher", ".."], ".. is a folder; expected weights (.safetensors, .ckpt"),
        (["--suite", "standard", "--teacher", "junk.safetensors"], "junk.safetensors"),
        (["--suite", "standard", "--teacher", "plain.pt"], "plain.pt does not say which network"),
        (
            ["--suite", "standard", "--teacher", "five.safetensors"],
            "five.safetensors answers with 5 classes, data has 10 classes",
        ),
        (
            ["--suite", "standard", "--teacher", "colour.safetensors"],
            "colour.safetensors cannot read images of shape (1, 8, 8)",
        ),
        (["--teacher", "student.safetensors"], "--teacher has no effect in the suite quick"),
        (["--published", "0.4925"], "--published has no effect in the suite quick"),
        (
            ["--suite", "standard", "--teacher", "t.pt", "--temperature", "5"],
            "--temperature has no effect in the suite standard",
        ),
        (["--temperature", "2"], "a --teacher"),
        (["--undefended", "nope.safetensors"], "nope.safetensors: no such file"),
        (["--undefended", "junk.safetensors"], "junk.safetensors"),
        (["--undefended", "five.safetensors"], "5 classes"),
        ([*TAUGHT, "--temperature", "0"], "--temperature 0.0: expected a number above 0"),
        ([*TAUGHT, "--temperature", "-1"], "--temperature -1.0"),
        ([*TAUGHT, "--temperature", "nan"], "temperature"),
        ([*TAUGHT, "--temperature", "inf"], "temperature"),
        ([*TAUGHT, "--temperature", "warm"], "temperature"),
        (["--suite", "standard", "--published", "49"], "--published 49.0: expected a fraction such as 0.4925"),
        (["--suite", "standard", "--published", "-0.1"], "--published -0.1"),
        (["--suite", "standard", "--published", "nan"], "published"),
        (["--save-adversarial=perhaps"], "perhaps"),
        (["--teachr", "student.safetensors"], "did you mean 'teacher'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be_meant(options, said, place, capsys):
    weights = write_weights(place / "student.safetensors")
    write_weights(place / "five.safetensors", narrow(5), num_classes=5)
    write_weights(place / "colour.safetensors", narrow(in_channels=3), init_args={**NETWORK, "in_channels": 3})
    (place / "junk.safetensors").write_text("junk")
    torch.save(trained().state_dict(), place / "plain.pt")
    assert said in refused(capsys, place, weights, *options)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Nope", "torchattacks has no attack 'Nope'"),
        ("PGDD", "did you mean 'PGD'"),
        ("AutoAttack", "10 steps where AutoAttack runs 100"),
        ("CW", "torchattacks.CW is made for L2; expected an attack in Linf"),
        ("MIFGSM,Nope", "'Nope'"),
    ],
)
def test_attacks_that_cannot_be_meant(name, said, place, capsys):
    pytest.importorskip("torchattacks")
    weights = write_weights(place / "student.safetensors")
    assert said in refused(capsys, place, weights, "--attacks", name)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (Tuple, "odd.pt returns tuple for"),
        (Scalar, "expected one logit a class"),
        (Detached, "the logits have no gradient"),
        (Graphless, "the logits have no gradient"),
        (Particular, "cannot read images of shape (1, 8, 8): Input width (8) doesn't match model (224)."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_models_that_cannot_be_attacked(network, said, place, foreign, capsys):
    assert said in refused(capsys, place, "odd.pt", *described(network, place, foreign))


def test_a_model_that_answers_with_no_number_is_unreliable(place, foreign, capsys):
    status, out, _ = cli(capsys, "evaluate", "odd.pt", *described(Nowhere, place, foreign), "--limit", 20)
    assert status == 4
    assert "UNRELIABLE" in out
    assert "V3" in out


def described(network, place, foreign):
    """Writes odd.pt and returns the options that say what it is."""
    torch.save({f"network.{key}": value for key, value in trained().state_dict().items()}, place / "odd.pt")
    named = write_yaml(place / "odd.yaml", {"class_path": f"{__name__}.{network.__name__}"})
    return [part for option in {**foreign, "--network": named}.items() for part in option]


def test_no_images_are_refused(place, capsys):
    weights = write_weights(place / "student.safetensors")
    write_yaml(place / "none.yaml", {"data": {"class_path": f"{__name__}.NoImages"}})
    assert "no images" in refused(capsys, place, weights, "--data", "none.yaml")


def test_transfer_through_two_files_of_one_name_is_through_both(place, capsys, monkeypatch):
    weights = write_weights(place / "here" / "student.safetensors")
    others = [write_weights(place / name / "student.safetensors", narrow()) for name in "ab"]
    monkeypatch.chdir(place / "here")
    monkeypatch.setattr("ard.evaluation.evaluation.Evaluation.judge", lambda self, *_: seen.extend(self.given.transfer))
    seen = []
    asked = ["evaluate", weights, "--suite", "full", "--transfer", ",".join(map(str, others)), "--limit", 20]
    cli(capsys, *asked)
    assert len(seen) == 2
    assert [name.partition(" ")[0] for name in seen] == ["a/student.safetensors", "b/student.safetensors"]
    monkeypatch.chdir(place)
    cli(capsys, *asked)
    assert seen[2:] == seen[:2], "random starts are keyed by these names"


def test_all_that_weights_do_not_say_is_asked_for_at_once(place, capsys):
    torch.save({f"network.{key}": value for key, value in trained().state_dict().items()}, place / "plain.pt")
    status, _, err = cli(capsys, "evaluate", "plain.pt")
    assert (status, err.count("\n")) == (2, 1)
    assert all(option in err for option in ("--network", "--data", "--eps", "classes"))
