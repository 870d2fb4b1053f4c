"""A training run of a second through the real command line: few digits, tiny student, small random teacher.

Imports neither torch nor Lightning, for the tests that need none of them; a fixture imports what it uses.
"""

import gc
import os
import shutil
import sys
from collections import defaultdict
from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from tiny_study import fake, study, study_place  # noqa: F401

CONFIGS = Path(__file__).parents[1] / "configs"
TINY = [f"--model.init_args.student.init_args.{part}" for part in ("stages=[[1,16,1,1],[2,16,1,2]]", "head=16")]
FAST = [
    "--data.init_args.batch_size=32",
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
]

ROOT_DIR = "--trainer.default_root_dir="

MEMORY = Path("/dev/shm")  # writing safely costs 8 ms a file on a disk, and a run of all tests writes thousands
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items):
    """Files with slow tests first, each whole: one that begins last leaves the other processes idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # tests and what they import stay to the end: no collection need look at them again


def pytest_unconfigure():
    gc.unfreeze()  # libraries look for leaks as the process ends


@pytest.fixture(autouse=True)
def _fault(request, record_property):
    """A test marked `fault(n, ...)` tells the page of faults which cases it shows."""
    for mark in request.node.iter_markers("fault"):
        for number in mark.args:
            record_property("fault", number)


@pytest.fixture
def observed(request, record_property):
    """observed(text): what a test saw, for docs/faults.md; its own folder is left out of the text."""

    def observe(text):
        folder = str(request.getfixturevalue("tmp_path"))
        record_property("observed", " ".join(str(text).replace(folder, "…").replace("|", "/").split()))

    return observe


@pytest.fixture(scope="session")
def teacher_of(tmp_path_factory):
    """teacher_of(num_classes): a file with the weights of a small random ResNet."""
    return lambda num_classes: random_teacher(tmp_path_factory.mktemp("teacher") / "teacher.safetensors", num_classes)


@pytest.fixture(scope="session")
def teacher_file(teacher_of):
    return teacher_of(10)


@pytest.fixture(scope="session")
def command(teacher_file):
    """command(directory, recipe, *more): arguments of a fast run on digits; what comes in `more` wins."""

    from small_runs import teacher_options

    def arguments(directory, recipe, *more, verb="fit", student=TINY, base=None):
        path = CONFIGS / "methods" / f"{recipe}.yaml"
        content = yaml.safe_load(path.read_text())
        teacher = [f"{option}={teacher_file}" for option in teacher_options(content)]
        plain = ["--data.init_args.augmentation=crop_flip"] if "data" in content else []  # digits can have no other
        words = [verb, "-c", str(CONFIGS / "digits.yaml"), *(["-c", str(base)] if base else []), "-c", str(path)]
        fast = FAST[1:] if base else FAST  # another base says its own batch size
        return [*words, *student, *fast, *plain, *teacher, f"{ROOT_DIR}{directory}", *more]

    return arguments


@pytest.fixture(scope="session")
def one_parser():
    """Every run in this process is parsed by the same parser, as if it were built once: it costs a fifth of a short run."""
    from ard.cli.lightning import CLI

    build, built = CLI.setup_parser, {}  # one for each set of verbs
    parts = ("parser", "_subcommand_method_arguments", "_subcommand_parsers")

    def setup_parser(self, *options):
        verbs = tuple(sorted(self.subcommands()))
        if verbs not in built:
            build(self, *options)
            built[verbs] = {name: getattr(self, name) for name in parts}
        vars(self).update(built[verbs])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CLI, "setup_parser", setup_parser)
        yield


@pytest.fixture(autouse=True)
def _one_parser_for_all(request):
    if "ard.cli.lightning" in sys.modules:  # not before: the tests that import no Lightning would do it for this
        request.getfixturevalue("one_parser")


@pytest.fixture(scope="session")
def fit(command, one_parser):  # noqa: ARG001
    """fit(directory, recipe, *more, callbacks=()): does it and gives the CLI object, whose `model` is the engine."""
    from ard.cli.lightning import CLI
    from ard.core.user_paths import written_out

    parsed = {}

    def run(directory, recipe, *more, callbacks=(), **other):
        class Watched(CLI):
            def parse_arguments(self, parser, args):
                """Equal words once, which takes a tenth of a short run; where a run is written makes no others of them."""
                apart = [word for word in args if word.startswith(ROOT_DIR) or word == "--resume=auto"]
                words = [word for word in args if word not in apart]
                named = [Path(word.rpartition("=")[2]) for word in words if word.endswith(".yaml")]
                key = *words, *(file.read_bytes() for file in named if file.is_file())
                if key not in parsed:
                    super().parse_arguments(parser, words)
                    parsed[key] = self.config
                self.config = deepcopy(parsed[key])
                for name, _, value in (word.removeprefix("--").partition("=") for word in apart):
                    self.config[self.config.subcommand][name] = written_out(value)

            def instantiate_trainer(self, **kwargs):
                trainer = super().instantiate_trainer(**kwargs)
                trainer.callbacks[:0] = callbacks  # in front: a test looks before the checkpoint is written
                return trainer

        return Watched(command(directory, recipe, *more, **other))

    return run


def random_teacher(path, num_classes):
    import torch

    from ard.artifacts.card import Card
    from ard.artifacts.weights import save_weights
    from ard.models import ResNet

    init_args = {"in_channels": 1, "width": 8, "blocks": [1]}
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        network = ResNet(num_classes=num_classes, **init_args)
    save_weights(path, network, Card(class_path="ard.models.ResNet", init_args=init_args, num_classes=num_classes))
    return path


@pytest.fixture(scope="module")
def short_attacks():
    """For evaluations in this process; `interruptions` shortens those in the processes that it starts."""
    from small_runs import less_effort

    with pytest.MonkeyPatch.context() as patch:
        less_effort(patch)
        yield


@pytest.fixture(scope="module")
def small_blocks():
    """An evaluation attacks 20 images at once, not 100: where it is asked what blocks are for, not what they cost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ard.evaluation.cascade.block_sizes", lambda _: [20])
        yield


@pytest.fixture
def no_picture(monkeypatch):
    """A comparison names its picture and does not draw it, which takes most of the time and has tests of its own."""
    monkeypatch.setattr("ard.report.comparison.DRAWN", defaultdict(lambda: lambda *_: None))


@pytest.fixture
def above_chance(monkeypatch):
    """Every epoch counts as above chance, also of a network that was trained for two steps."""
    monkeypatch.setattr("ard.artifacts.metrics.Validation.is_above_chance", True)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def idle(tmp_path, monkeypatch):
    """A work place where nothing can be trained: a mistake that is found too late does not cost an hour."""
    from small_runs import workplace

    monkeypatch.setattr("ard.study.job.Job._process", lambda *_, **__: pytest.fail("a training was started"))
    monkeypatch.setattr("pytorch_lightning.loops.fit_loop._FitLoop.run", lambda *_: pytest.fail("a training was started"))
    return workplace(tmp_path, monkeypatch)


@pytest.fixture
def foreign(place):
    """A plain state dict, and the options that say what it is."""
    import torch
    from small_runs import DATA, NETWORK, trained, write_yaml

    torch.save(trained().state_dict(), place / "plain.pt")
    write_yaml(place / "network.yaml", {"class_path": "ard.models.ResNet", "init_args": NETWORK})
    write_yaml(place / "data.yaml", {"data": DATA})
    return {"--network": "network.yaml", "--data": "data.yaml", "--eps": "0.1"}
