"""A network that is not ours: trained, exported, evaluated by the command that the run prints, verified, and a teacher."""

import importlib
import json
import re
import shlex
import sys
from types import SimpleNamespace

import pytest
import torch
from small_runs import cli, workplace, write_yaml

from ard.artifacts.record_parts import GivenFiles
from ard.attacks import Linf
from ard.commands.evaluation_key import evaluation_key
from ard.evaluation.request import Request

pytestmark = pytest.mark.usefixtures("short_attacks")

MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes: int, width: int = 8):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, num_classes))

    def forward(self, x):
        return self.layers(x)

def make(num_classes, width=8):
    return Net(num_classes, width)

def other(classes):
    return Net(classes)

class NoNetwork:
    def __init__(self, num_classes: int): pass

class NoClasses(nn.Module): pass
NUMBER = 3
"""
FAST = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
FIT = ["fit", "-c", "configs/digits.yaml", "-c", "configs/methods/pgd_at.yaml", "--trainer.accelerator=cpu", *FAST]
CONTRACT = (
    "a network is an nn.Module subclass, a function that names `num_classes` among its parameters, or a model function"
)


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A work place with mynet.py in it; the command line itself makes it importable, at the end of sys.path."""
    workplace(tmp_path, monkeypatch)
    (tmp_path / "mynet.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("mynet", None)


@pytest.mark.usefixtures("above_chance")
def test_a_network_that_is_not_ours_survives_the_whole_path(theirs, capsys):
    status, out, err = cli(capsys, *FIT, "--model.init_args.student=mynet.Net", "--trainer.default_root_dir=run")
    assert status == 0, err
    assert sys.path[-1] == str(theirs)
    printed = shlex.split(re.search(r"next: ard (.*)", out)[1])
    assert printed[-2:] == ["--network", "run/config.yaml"]
    weights = printed[1]

    status, out, err = cli(capsys, "evaluate", weights)
    assert status == 2
    assert f"asks for mynet.Net, which is not a network of ard.models: add --network; {CONTRACT}" in err
    status, out, _ = cli(capsys, *printed, "--limit=20", "--save-adversarial")
    assert status in (0, 3, 4)
    assert "clean" in out
    status, out, _ = cli(capsys, *shlex.split(re.search(r"next: ard (.*)", out)[1]))
    assert (status, "holds" in out) == (0, True)
    images = next((theirs / "run").glob("*.adversarial.safetensors"))
    status, out, _ = cli(capsys, "verify", images, weights, "--network=mynet.Net")
    assert (status, "holds" in out) == (0, True)
    for network in ("mynet.Net", write_yaml(theirs / "net.yaml", {"class_path": "mynet.make"})):
        status, out, _ = cli(capsys, "test", weights, "--network", network, "--limit=20", "--replace")
        assert status in (0, 3, 4)
    ard = [word.replace("pgd_at", "ard") for word in FIT]
    teacher = "--model.init_args.teacher.init_args."
    status, _, err = cli(capsys, *ard, f"{teacher}weights={weights}", "--trainer.default_root_dir=second")
    assert status == 2
    assert f"add --model.teacher.network; {CONTRACT}" in err
    options = [f"{teacher}weights={weights}", "--trainer.default_root_dir=second"]
    status, out, err = cli(capsys, "doctor", *ard[1:], *options, "--network", "run/config.yaml")
    assert "cannot be built" not in out + err
    assert re.search(r"teacher: clean", out)
    assert cli(capsys, *ard, *options, "--network=mynet.Net")[0] == 0


@pytest.mark.parametrize(
    ("network", "found"),
    [
        ("mynet.other", "mynet.other is a function without `num_classes`"),
        ("mynet.NoNetwork", "mynet.NoNetwork is a class, but no nn.Module"),
        ("mynet.NoClasses", "mynet.NoClasses takes no `num_classes`"),
        ("mynet.NUMBER", "mynet.NUMBER is a int"),
        ("mynet.Nett", "mynet has no 'Nett'; did you mean 'Net'?"),
        ("nowhere.Net", "nowhere.Net cannot be imported (ModuleNotFoundError: No module named 'nowhere')"),
        ("Net", "'Net' is no file and no class path such as mynet.Net"),
        ("os.system", "os.system is a function without `num_classes`"),
        ("torch.hub.load", "torch.hub.load is a function without `num_classes`"),
        ("torchvision.datasets.utils.download_url", "torchvision.datasets.utils.download_url is a function without"),
        ("torchvision.models.get_model", "torchvision.models.get_model is a function without `num_classes`"),
        ("torch.nn.functional.relu", "torch.nn.functional.relu is a function without `num_classes`"),
        ("empty.yaml", "it names no class_path; expected {class_path, init_args}, or a run's config.yaml"),
    ],
)
def test_each_refusal_names_the_option_and_the_contract(network, found, theirs, capsys):
    torch.save({"layers.1.weight": torch.zeros(3, 3)}, theirs / "plain.pt")
    write_yaml(theirs / "empty.yaml", {"init_args": {}})
    options = ["--network", network, "--data", "configs/digits.yaml", "--eps=0.1"]
    status, _, err = cli(capsys, "evaluate", "plain.pt", *options)
    assert status == 2
    assert err.startswith(f"ard: --network {network}: {found}"), err
    assert CONTRACT in err
    assert err.count("\n") == 1


SYSTEM = {"class_path": "os.system", "init_args": {"command": "touch ran"}}
INSIDE = {"class_path": "ard.models.Normalized", "init_args": {"mean": [0.5], "std": [0.5], "network": SYSTEM}}


@pytest.mark.fault(58)
@pytest.mark.parametrize("network", [SYSTEM, INSIDE], ids=["itself", "inside another"])
def test_no_other_function_is_called(network, theirs, command, capsys, observed):
    torch.save({"layers.1.weight": torch.zeros(3, 3)}, theirs / "plain.pt")
    write_yaml(theirs / "net.yaml", network)
    section, told = "model.init_args.teacher.init_args.network", []
    for words in (
        ["evaluate", "plain.pt", "--network", "net.yaml", "--data", "configs/digits.yaml", "--eps=0.1"],
        command("run", "ard", f"--{section}={json.dumps(network)}"),
        command("run", "natural", f"--model.init_args.student={json.dumps(network)}"),
    ):
        status, out, err = cli(capsys, *words)
        assert (status, out, err.count("\n")) == (2, "", 1), err
        told = [*told, err]
    assert all(CONTRACT in line for line in told[:2])  # the last one is refused before that, by the parser
    assert not (theirs / "ran").exists()
    assert not (theirs / "run").exists()
    observed(f"exit 2: {told[0]}")


@pytest.mark.usefixtures("above_chance")
def test_blocks_of_a_network_whose_code_was_changed_are_not_continued(theirs, monkeypatch):
    """Verdicts of 40 times the logits are not those of the logits."""
    monkeypatch.syspath_prepend(theirs)
    subject = SimpleNamespace(sha256="a" * 64, digest="d", ball=Linf(0.1), x=torch.zeros(1))
    for name, model in (("Net", None), ("make", torch.nn.Linear(1, 1))):  # a function may put torch's layers together
        keys = []
        for module in (MODULE, MODULE, MODULE.replace("self.layers(x)", "40 * self.layers(x)")):
            (theirs / "mynet.py").write_text(module)
            subject.model = model or importlib.import_module("mynet").Net(10)
            keys.append(evaluation_key(subject, Request(network=f"mynet.{name}"), GivenFiles(), 100))
        assert keys[0] == keys[1] != keys[2]
