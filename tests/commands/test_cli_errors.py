"""What a user can get wrong: one line that says what to do, exit status 2, and nothing written."""

import subprocess
import sys

import pytest
from conftest import random_teacher
from small_runs import CARD, narrow, one_line, write_weights, write_yaml

FIT = ["-c", "configs/digits.yaml", "-c", "configs/methods/pgd_at.yaml", "--trainer.default_root_dir=run"]
DISTIL = [*FIT[:3], "configs/methods/ard.yaml", FIT[4]]
ARGS, TEACHER = "--model.init_args.", "--model.init_args.teacher.init_args.weights="


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["fti"], "no verb 'fti'; did you mean 'fit'?"),
        (["evalute"], "did you mean 'evaluate'?"),
        (["trian"], "no verb 'trian'; did you mean 'fit'?"),
        (["distil", "digits"], "did you mean 'fit'?"),
        (["train", "digits"], "name a method after the base"),
        (["zzz"], "ard --help lists them"),
        *(([verb], f"expected ard {verb} ") for verb in ("study", "evaluate", "compare")),
        *(([verb], f"expected a base and a method, as in `ard {verb} digits pgd_at`") for verb in ("fit", "validate")),
        (["compare", "empty"], "empty: found no evaluation.json"),
        (["compare", "nowhere"], "nowhere: found no evaluation.json"),
        (["compare", "empty", "--mixd"], "did you mean 'mixed'?"),
        (["fit", "-c", "nope.yaml"], "nope.yaml: no such config file"),
        (["fit", "--config=nope.yaml"], "nope.yaml"),
        (["fit", *DISTIL[:2], "-c", "nope.yaml"], "nope.yaml: no such config file"),
        (["fit", "-c", "empty"], "empty: no such config file"),
        (["fit", "--epochs", "1"], "name a base and a method, as in: ard fit digits pgd_at"),
        (["fit", "digits", "pgd_at", "--epochs=abc"], "--epochs: 'abc': expected a whole number"),
        (["fit", "digits", "pgd_at", "--lr", "0,1"], "--lr: '0,1': expected a number"),
        (["fit", "digits", "pgd_at", "--seed", "x"], "--seed: "),
        (["doctor", "digits", "pgd_at", "--epochs=abc"], "--epochs: 'abc': expected a whole number"),
        (["fit", "digits"], "required: objective; name a method after the base, as in: ard fit digits pgd_at"),
        (["fit", "pgd_at"], "a base comes before the method, as in: ard fit digits pgd_at"),
        (["fit", "rslad", "digits"], "expected the base (with `data:`) first"),
        (["fit", "digits", "rsald"], "rsald: no such config file; did you mean 'rslad'?"),
        (["fit", "digits", "-c"], "-c: expected the name of a config after it"),
        (["fit", "digits", "pgd_at", "-x"], "-x: expected the name of a config, or an option, which begins with --"),
        (["fit", "-c", "configs/methods/rsald.yaml"], "did you mean 'configs/methods/rslad.yaml'?"),
        (["study", FIT[1]], "configs/digits.yaml is a config for `ard fit configs/digits.yaml`; expected a study"),
        (["study", "configs/studies/digit.yaml"], "no such study; did you mean 'configs/studies/digits.yaml'?"),
        (["fit", *FIT[2:4], *FIT[:2]], "expected the base (with `data:`) first"),
        (["fit", f"--config={FIT[3]}", f"--config={FIT[1]}"], "expected the base (with `data:`) first"),
        (["validate", *FIT[2:4], *FIT[:2]], "expected the base (with `data:`) first"),
        (["validate", *FIT, "--ckpt_path=nope.ckpt"], "nope.ckpt"),
        (["validate", *FIT], "--ckpt_path is missing: expected the checkpoint to validate, such as --ckpt_path best"),
        (["fit", *FIT, "--model.init_args.training.lr=0"], "lr = 0.0: expected above 0"),
        (["fit", *FIT, "--ckpt_path=nope.ckpt"], "nope.ckpt"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_commands_that_cannot_start(arguments, found, idle, capsys):
    (idle / "empty").mkdir()
    assert found in one_line(idle, capsys, *arguments)


@pytest.mark.parametrize(
    ("option", "found"),
    [
        (f"{ARGS}student.init_args.widht=1", "did you mean 'width'?"),
        (f"{ARGS}stundent.init_args.width=1", "did you mean 'student'?"),
        (f"{ARGS}training.lrr=1", "did you mean 'lr'?"),
        ("--modle.init_args.seed=1", "did you mean 'model'?"),
        ("--trainer.max_epochz=1", "did you mean 'max_epochs'?"),
        ("--data.init_args.batchsize=1", "did you mean 'batch_size'?"),
        (f"{ARGS}objective.class_path=ard.objectives.pgd_at.PGDA", "did you mean 'PGDAT'?"),
        (f"{ARGS}attack.class_path=ard.attacks.PDG", "did you mean 'PGD'?"),
        ("--data.class_path=ard.data.Digit", "did you mean 'Digits'?"),
        (f"{ARGS}threat.init_args.epsilon=0.1", "did you mean 'eps'?"),
        (f"{ARGS}see=1", "did you mean 'seed'?"),
        (f"{ARGS}training.schedule=cosin", "'cosin': expected one of multistep, one_cycle, triangular"),
        ("--guards.on=rollback", "did you mean 'on_overfitting'?"),
        ("--resum=auto", "did you mean 'resume'?"),
        ("--trainer.precision=fp16", "'fp16': expected one of auto, 32-true, bf16-mixed"),
        (f"{ARGS}threat.init_args.eps=8", "did you mean 8/255?"),
        (f"{ARGS}threat.init_args.eps=8/abc", "'8/abc': expected a number or a fraction such as 8/255"),
        (f"{ARGS}threat.init_args.eps=-0.1", "eps = -0.1: expected a radius of at least 0"),
        (f"{ARGS}threat.init_args.eps=nan", "nan"),
        (f"{ARGS}attack.init_args.steps=0", "steps = 0: expected at least 1"),
        (f"{ARGS}attack.init_args.steps=few", "steps: "),
        ("--data.init_args.batch_size=5000", "batch_size = 5000: expected at most the 1197 training images"),
        ("--data.init_args.batch_size=0", "batch_size = 0"),
        ("--data.init_args.val_size=0", "val_size = 0: expected 10 (one a class)"),
        ("--data.init_args.crop_padding=-1", "crop_padding = -1: expected 0 or more"),
        ("--data.init_args.crop_padding=9", "crop_padding = 9: expected at most the side of images (1, 8, 8)"),
        ("--data.init_args.split_seed=-1", "split_seed = -1: expected 0 or more"),
        ("--seed_everything=-1", "seed_everything = -1: expected 0 to 4294967295"),
        (f"{ARGS}training.lr=-0.1", "lr = -0.1: expected above 0"),
        (f"{ARGS}training.lr=.nan", "model.init_args.training.lr = nan: expected a finite number"),
        (f"{ARGS}training.warmup=2", "warmup = 2.0: expected at least 0, at most 1"),
        (f"{ARGS}training.milestones=[.inf]", "milestones"),
        (f"{ARGS}training.milestones=x", "training.milestones: 'x': expected a list"),
        ("--data.init_args.batch_size=null", "--data.init_args.batch_size: null; expected a number"),
        (
            f"{ARGS}student.init_args.stages=[[1,16,-1,1]]",
            "stages with [1, 16, -1, 1]: expected (expansion, channels,",
        ),
        (f"{ARGS}student.init_args.stages=[[1]]", "stages with [1]"),
        (f"{ARGS}student.init_args.head=0", ": head = 0: expected at least 1"),
        (f"{ARGS}student.init_args.stages=[[1,16,1000000000,1]]", "a network of more than"),
        ("--trainer.gradient_clip_val=.inf", "trainer.gradient_clip_val = inf: expected a finite number"),
        ("--trainer.devices=several", "devices"),
        ("--trainer.accelerator=gpux", "gpux"),
        ("--trainer.accelerator=tpu", "torch_xla"),
    ],
)
def test_options_of_fit(option, found, idle, capsys):
    assert found in one_line(idle, capsys, "fit", *FIT, option)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("model: {init_args: {student: {init_args: {widht: 1}}}}", "did you mean 'width'?"),
        ("model: {init_args: {stundent: {class_path: ard.models.ResNet}}}", "did you mean 'student'?"),
        ("model: {init_args: {training: {lrr: 1}}}", "did you mean 'lr'?"),
        ("modle: {init_args: {seed: 1}}", "did you mean 'model'?"),
        ("model: {init_args: {objective: {class_path: ard.objectives.pgd_at.PGDA}}}", "did you mean 'PGDAT'?"),
        ("model: {init_args: {threat: {class_path: ard.attacks.Linf, init_args: {eps: 8}}}}", "did you mean 8/255?"),
        ("model: {init_args: {threat: {init_args: {eps: 8/abc}}}}", "'8/abc': expected a number"),
        ("model: {init_args: {attack: {init_args: {steps: 0}}}}", "steps = 0"),
        ("a: [1", "part.yaml"),
        ("a: 1\n\tb: 2", "part.yaml"),
        ("model: {init_args: {seed: 1}}\nmodel: {}", "the key 'model' is there twice, again in line 2"),
        ("a: 2020-13-45", "month must be in 1..12"),
        ("a: &a [*a]", "nested deeper than 50"),
        ("a: &a {b: *a}", "nested deeper than 50"),
        (
            "\n".join(["a0: &a0 [x, x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]),
            "more than 100,000 values",
        ),
        ("- 1", "part.yaml"),
        ("hello", "part.yaml"),
        ("", "part.yaml"),
    ],
)
def test_config_files_of_fit(content, found, idle, capsys):
    write_yaml(idle / "part.yaml", content)
    assert found in one_line(idle, capsys, "fit", *FIT, "-c", "part.yaml")


def test_teachers_that_cannot_teach(idle, capsys):
    (idle / "page.safetensors").write_text("<!DOCTYPE html>" * 20)
    (idle / "page.pt").write_text("<!DOCTYPE html>" * 20)
    write_weights(idle / "colour.safetensors", narrow(in_channels=3), init_args={**CARD["init_args"], "in_channels": 3})
    random_teacher(idle / "hundred.safetensors", 100)
    assert "a teacher without weights: add" in one_line(idle, capsys, "fit", *DISTIL)
    for name, found in {
        "nope.pt": "nope.pt: no such file",
        "page.safetensors": "page.safetensors (300 bytes) is not a safetensors file",
        "page.pt": "page.pt: refused, not a plain file of weights",
        "hundred.safetensors": "answers with 100 classes, data has 10 classes",
        "colour.safetensors": "cannot read images of shape (1, 8, 8)",
    }.items():
        message = one_line(idle, capsys, "fit", *DISTIL, f"{TEACHER}{name}")
        assert found in message
        assert "weights_only" not in message  # torch advises to turn the protection off


def test_a_run_is_not_overwritten(idle, capsys):
    (idle / "run").mkdir()
    (idle / "run" / "last.ckpt").write_bytes(b"hours of work")
    assert "run already holds a run: --resume auto continues it" in one_line(idle, capsys, "fit", *FIT)


@pytest.mark.parametrize("words", ["", "--help", "--version", "fit --help", "train -h", "fit --help-all", "evaluate --help"])
def test_help_and_version_wait_for_nothing(words):
    code = "import sys, ard.__main__ as m; status = m.main(sys.argv[1:]); print(status, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=True)
    *text, last = done.stdout.splitlines()
    assert last == "0 False"
    assert text[0][0].isdigit() if "--version" in words else text[0].startswith("usage: ard ")


def test_a_pipe_that_closes_early_is_no_error():
    line = f"{sys.executable} -m ard fit --help-all | head -n 1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("usage: ard fit BASE METHOD [SCHEDULE] [options]\n", "")
