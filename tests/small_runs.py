"""A digits network of a second, files of weights around it, the command line in process, and a study's fake processes."""

import hashlib
import json
import shutil
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save
from torch import nn

from ard.__main__ import main
from ard.artifacts.card import Card
from ard.artifacts.facts import NetworkSpec, Recipe, Threat, TrainingFacts
from ard.artifacts.paths import record_of
from ard.artifacts.record import Record
from ard.artifacts.record_file import write_record
from ard.artifacts.record_parts import DatasetSpec, GivenFiles, WeightsFile
from ard.artifacts.run_name import run_of
from ard.core.bits import pack
from ard.core.locks import LOCK
from ard.data import Digits, to_pixels
from ard.evaluation import suites
from ard.evaluation.adversaries import Squares
from ard.evaluation.rehearsed import NOTE
from ard.losses import cross_entropy
from ard.models import ResNet
from ard.training.config_digest import config_digest

ROOT = Path(__file__).parents[1]
NETWORK = {"in_channels": 1, "width": 4, "blocks": [1, 1]}
DATA = {"class_path": "ard.data.Digits", "init_args": {"batch_size": 128, "val_size": 200}}
TRAINING = TrainingFacts(
    block={"lr": 0.1},
    epochs=1,
    seconds=1.0,
    images_per_s=100.0,
    device="cpu",
    precision="32-true",
    selected_by="val/robust_acc",
    epoch=0,
    seed=0,
    config_digest="cd" * 8,
)
CARD = Card(
    class_path="ard.models.ResNet",
    init_args=NETWORK,
    num_classes=10,
    data=DATA,
    recipe=Recipe(engine="ard.Distillation", class_path="ard.objectives.pgd_at.PGDAT"),
    teacher="ab" * 32,
    threat=Threat(norm="Linf", eps=0.1),
    training=TRAINING,
).tree


@cache
def _trained_state():
    """In double precision, so that the network is the same on every CPU but for the last bits of its numbers."""
    images = Digits().training_images()
    x, y = to_pixels(images.pixels).double(), images.labels
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        net = ResNet(num_classes=10, **NETWORK).double()
        optimizer = torch.optim.Adam(net.parameters(), 0.01)
        for _ in range(200):
            chosen = torch.randint(len(y), (128,))
            noisy = (x[chosen] + 0.3 * torch.randn(128, 1, 8, 8, dtype=torch.float64)).clamp(0, 1)
            optimizer.zero_grad()
            cross_entropy(net(noisy), y[chosen]).mean().backward()
            optimizer.step()
    return net.float().state_dict()


def trained():
    """A small network that knows the digits and withstands a little noise, fresh, in eval mode."""
    net = ResNet(num_classes=10, **NETWORK)
    net.load_state_dict(_trained_state())
    return net.eval()


@cache
def digits(count):
    """The first test images (count, 1, 8, 8) in [0, 1] and their labels."""
    images = Digits().test_images()
    return to_pixels(images.pixels[:count]), images.labels[:count]


def less_effort(patch):
    """Evaluations with a tenth of the queries and a fifth of the steps: where it is asked who did what, not how well."""
    by_pgd = suites._by_pgd

    def in_few_steps(name, ball, steps, *what, **place):
        return by_pgd(name, ball, max(steps // 5, 4), *what, **place)

    def in_few_queries(**given):
        return Squares(**{**given, "queries": given["queries"] // 10})

    patch.setattr(suites, "_by_pgd", in_few_steps)
    patch.setattr(suites, "Squares", in_few_queries)


class Probabilities(nn.Module):
    """A network that answers with probabilities, as evaluation must not believe it."""

    def __init__(self, *, num_classes):
        super().__init__()
        self.network = ResNet(num_classes=num_classes, **NETWORK)

    def forward(self, x):
        return self.network(x).softmax(dim=1)


def write_weights(path, net=None, **changes):
    """Our safetensors with CARD changed by `changes`, which may damage it; a value of None takes the entry out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    card = {key: value for key, value in {**CARD, **changes}.items() if value is not None}
    state = (trained() if net is None else net).state_dict()
    path.write_bytes(save({name: value.contiguous() for name, value in state.items()}, {"model": json.dumps(card)}))
    return path


def narrow(num_classes=10, **changes):
    """An untrained network of the trained one's kind."""
    return partial(ResNet, **{**NETWORK, **changes})(num_classes=num_classes)


def workplace(path, monkeypatch):
    """A current folder with the configs of the repository, where studies may write checkpoints/."""
    (path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(path)
    return path


def cli(capsys, *arguments):
    """Exit status, stdout and stderr of one command, in this process."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def files_below(path):
    """Every file below a folder that may be missing, except the configs."""
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def one_line(idle, capsys, *arguments):
    """The message of a refused command; it may leave no file that was not there before."""
    before = files_below(idle)
    status, out, err = cli(capsys, *arguments)
    assert err.startswith("ard: "), err
    assert err.count("\n") == 1, err
    assert "Traceback" not in out + err
    assert (status, out) == (2, "")
    assert files_below(idle) == before
    return err


class FakeProcesses:
    """Stands in for Job._process: remembers every command, and leaves at once the files that a real one leaves."""

    def __init__(self):
        self.commands = []
        self.broken = set()  # runs, by a part of their directory, whose training fails

    def install(self, monkeypatch):
        monkeypatch.setattr("ard.study.job.Job._process", lambda job, arguments, **_: self.run(job, arguments))
        return self

    def run(self, job, arguments):
        directory = job.run.directory
        directory.mkdir(parents=True, exist_ok=True)
        self.commands.append(arguments)
        if arguments[0] == "fit":
            if any(name in str(directory) for name in self.broken):
                return f"ard fit ended with status 2: boom (see {directory}/log.txt)"
            assert not (directory / LOCK).exists(), "the study holds the folder: a real `ard fit` would be kept out"
            return self.fit(directory, job.resolved, resumes="--resume=auto" in arguments)
        return self.evaluate(directory, job.study.evaluate)

    def fit(self, directory, resolved, *, resumes):
        """Weights are a digest of the config, and of what the run was before where it resumes."""
        before = (directory / "last.ckpt").read_bytes() if resumes else config_digest(resolved).encode()
        (directory / "config.yaml").write_text(yaml.safe_dump(resolved))
        for name in ("last.ckpt", "student.safetensors", "last.safetensors"):
            (directory / name).write_bytes(before)

    def evaluate(self, directory, request):
        for name in ("student", "last"):
            record = plausible_record(directory, f"{name}.safetensors", request)
            write_record(record_of(directory / f"{name}.safetensors"), record)

    def trained(self):
        """The runs whose training was asked for since the last call, by directory below the study's, sorted."""
        fits = [command for command in self.commands if command[0] == "fit"]
        self.commands = []
        roots = [option.partition("=")[2] for fit in fits for option in fit if "default_root_dir" in option]
        return sorted(str(Path(*Path(root).parts[2:])) for root in roots)


def plausible_record(directory, weights, request):
    """A record that `compare` accepts, of the weights and the config that lie in the directory."""
    bits = pack(np.arange(40) < 30)
    resolved = yaml.safe_load((directory / "config.yaml").read_text())
    teacher = resolved["model"]["init_args"].get("teacher")
    last = weights.startswith("last")
    training = replace(
        TRAINING, config_digest=config_digest(resolved), selected_by="last epoch" if last else "val/robust_acc"
    )
    teacher_hash = sha256(teacher["init_args"]["weights"]) if teacher else None
    record = Record(
        weights=WeightsFile(path=weights, sha256=sha256(directory / weights)),
        model=NetworkSpec(class_path="ard.models.ResNet", init_args={}),
        dataset=DatasetSpec(name="Digits", class_path="ard.data.Digits", init_args={}, digest="0123456789abcdef"),
        split="test",
        limit=None,
        suite="quick",
        params=10,
        macs=10,
        n=40,
        threat=Threat(norm="Linf", eps=request.get("eps", 0.15)),
        clean_acc=0.75,
        attacks=(),
        robust_acc=0.75,
        stderr=0.0,
        per_class=(),
        bits={"clean": bits, "worst": bits},
        checks=(),
        verdict="sound",
        seconds=1.0,
        seed=0,
        versions={},
        commit=None,
        recipe=None,
        teacher=teacher_hash,
        given=GivenFiles(undefended=request.get("undefended")),
        training=training,
        run=run_of(directory / weights, Card(training=training, teacher=teacher_hash)),
    )
    rehearsed = {"notes": (NOTE,)} if request.get("rehearse") else {}
    asked = {key: value for key, value in request.items() if key not in ("eps", "rehearse", "undefended")}
    return replace(record, **asked, **rehearsed)


def sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def write_yaml(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def forget(directory):
    """A lost machine."""
    shutil.rmtree(directory)


def teacher_options(tree, path=()):
    """The option that names the weights of each teacher in a recipe; a method may have several."""
    if tree.get("class_path") == "ard.models.Frozen":
        yield f"--{'.'.join(path)}.init_args.weights"
    for key, branch in tree.items():
        if isinstance(branch, dict):
            yield from teacher_options(branch, (*path, key))
