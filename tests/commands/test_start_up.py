"""What a command waits for: a mistake in a name, a file, a key or a number is told before torch is imported."""

import subprocess
import sys

import pytest
import yaml
from small_runs import ROOT, teacher_options, workplace
from tiny import user_error

from ard.cli.lightning import resolve_config
from ard.cli.refusals import RunKeys, check_run
from ard.commands import VERBS, overview

FIT = ["fit", "-c", "configs/digits.yaml", "-c", "configs/methods/pgd_at.yaml"]
RECIPES = sorted((ROOT / "configs/methods").glob("*.yaml"))


def fresh(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "-c", "nope.yaml"],
        [*FIT, "--model.init_args.student.init_args.widht=1"],
        [*FIT, "--trainer.max_epochz", "3"],
        [*FIT, "--model.init_args.training.lr=.nan"],
        [*FIT, "--model.init_args.init=nope.safetensors"],
        [*FIT, "--model.init_args.init=configs"],
        [*FIT, "--data.batch_size=null"],
        ["doctor", *FIT[1:], "--modle.init_args.seed=1"],
        ["study", "nope.yaml"],
        ["evaluate", "nope.safetensors"],
        ["evaluate", "nope.safetensors", "--eps", "8/255"],
        ["evaluate", "nope.safetensors", "--suite", "quik"],
        ["compare", "nowhere"],
        ["verify", "a.safetensors", "b.safetensors"],
        ["prune", "nope.safetensors"],
        ["prune", "nope.safetensors", "--how", "fanuot"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_told_before_torch_is_imported(arguments):
    code = "import sys, ard.__main__ as m; print(m.main(sys.argv[1:]), 'torch' in sys.modules)"
    done = fresh(code, *arguments)
    assert done.stdout == "2 False\n", done.stderr
    assert done.stderr.startswith("ard: ")


def test_quick_imports_leave_everything_usable():
    """What was hidden from torchmetrics is there for everybody else, and the collector works again."""
    code = (
        "import gc\nfrom ard.cli.quick_imports import quick_imports\n"
        "with quick_imports():\n    import pytorch_lightning, torchmetrics\n"
        "import torch, torchvision, scipy.signal, matplotlib\n"
        "metric = torchmetrics.Accuracy('multiclass', num_classes=2)\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 0, metric(torch.tensor([0, 1]), torch.tensor([0, 0])).item())"
    )
    done = fresh(code)
    assert done.stdout == "True True 0.5\n"
    assert done.stderr == ""


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_no_shipped_config_has_a_key_that_is_refused(recipe, monkeypatch):
    monkeypatch.chdir(ROOT)
    options = [f"{option}=x" for option in teacher_options(yaml.safe_load(recipe.read_text()))]
    for base in ("digits", "cifar10", "image_folder"):
        keys = check_run(["fit", "-c", f"configs/{base}.yaml", "-c", str(recipe), *options])
        assert set(keys.files.values()) <= {"x"}
        assert len(keys.files) == len(options)


@pytest.mark.parametrize("recipe", ["mtard", "trades_awp", "fast_ard", "rslad_igdm", "peeraid"])
def test_every_key_of_a_resolved_config_is_known(recipe, monkeypatch):
    """What the parser writes out has each argument of each class."""
    monkeypatch.chdir(ROOT)
    resolved = resolve_config([*FIT[:3], "-c", f"configs/methods/{recipe}.yaml"])
    RunKeys("fit").check(resolved, "")


def test_short_names_of_places_and_classes_of_others_pass(tmp_path, monkeypatch):
    workplace(tmp_path, monkeypatch)
    for option in (
        "--model.student.width=0.5",
        "--model.init_args.student=mynet.Net",
        "--model.init_args.student={class_path: mynet.Net, init_args: {depth: 3}}",
        "--trainer.logger.init_args.project=x",
        "--trainer.callbacks+=MyCallback",
        "--data=Digits",
        "--print_config",
    ):
        check_run([*FIT, option])


def test_a_class_named_later_decides(tmp_path, monkeypatch):
    workplace(tmp_path, monkeypatch)
    resnet = ["--model.init_args.student", "ard.models.ResNet"]
    check_run([*FIT, *resnet, "--model.init_args.student.init_args.blocks=[1]"])
    with user_error(r"--model\.init_args\.student\.init_args\.blocks: unknown key 'blocks'; expected one of .*stages"):
        check_run([*FIT, "--model.init_args.student.init_args.blocks=[1]"])


def test_the_help_of_the_doctor_costs_no_torch():
    done = fresh("import sys, ard.__main__ as m; m.main(['doctor', '--help']); print('torch' in sys.modules)")
    assert done.stdout.startswith("usage: ard doctor")
    assert done.stdout.endswith("False\n")


def test_the_overview_has_every_verb():
    for name, verb in VERBS.items():
        assert f"\n  {name} " in overview()
        assert verb.summary in overview()
