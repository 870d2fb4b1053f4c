"""A run resumes with its own options: others are refused by name, other versions are reported."""

import re
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Callback
from small_runs import cli
from tiny import user_error

from ard.artifacts.record_file import read_record
from ard.artifacts.weights import card_of, read_weights, save_weights
from ard.models import load
from ard.training import resume
from ard.training.resume import changes

pytestmark = pytest.mark.usefixtures("short_attacks")

OPTIONS = ["--trainer.max_epochs=2", "--model.init_args.training.schedule=multistep"]


@pytest.fixture(scope="module")
def finished(fit, tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    fit(directory, "pgd_at", *OPTIONS)
    return directory


@pytest.fixture
def run(finished, tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    for file in finished.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    return directory


def contents(directory):
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def refused(capsys, run, *words):
    """The line of a resume that is refused and leaves everything as it was."""
    before = contents(run)
    status, _, err = cli(capsys, *words)
    lines = [line for line in err.splitlines() if not line.startswith("ard: resuming from")]
    assert (status, len(lines), contents(run)) == (2, 1, before)
    return lines[0]


@pytest.mark.fault(45)
@pytest.mark.parametrize(
    ("option", "difference"),
    [
        ("--data.init_args.batch_size=16", "data.batch_size: 32 -> 16"),
        ("--model.init_args.training.label_smoothing=0.1", "model.training.label_smoothing: 0.0 -> 0.1"),
        ("--model.init_args.threat.init_args.eps=8/255", "model.threat.eps: 0.15 -> 8/255"),
        ("--seed_everything=1", "seed_everything: 0 -> 1"),
        ("--trainer.max_epochs=1", "trainer.max_epochs: 2 -> 1"),
    ],
)
def test_other_options_are_refused_by_name(command, capsys, run, option, difference, observed):
    line = refused(capsys, run, *command(run, "pgd_at", *OPTIONS, "--resume=auto", option))
    assert f"last.ckpt is of another run: {difference}; --allow_changes true resumes nevertheless" in line
    observed(f"exit 2: {line}")


@pytest.mark.parametrize(
    "change",
    ["lr=0.2", "weight_decay=0.001", "momentum=0.5", "gamma=0.5", "optimizer=torch.optim.AdamW", "milestones=[0.6]"],
)
def test_what_the_optimiser_of_the_checkpoint_holds_is_refused_even_where_changes_are_allowed(command, capsys, run, change):
    """It would be told and recorded, and go on as it was."""
    words = [*OPTIONS, "--resume=auto", "--allow_changes=true", f"--model.init_args.training.{change}"]
    line = refused(capsys, run, *command(run, "pgd_at", *words))
    assert f"last.ckpt is of another run: model.training.{change.partition('=')[0]}" in line
    assert f"or --init {run / 'last.ckpt'} --out DIR, which starts anew with its weights" in line


@pytest.mark.fault(45)
def test_another_objective_is_refused_by_name(command, capsys, run, observed):
    line = refused(capsys, run, *command(run, "trades", *OPTIONS, "--ckpt_path=last"))
    assert "model.objective.class_path: ard.objectives.pgd_at.PGDAT -> ard.objectives.trades.TRADES" in line
    assert "model.objective.beta: not set -> 6.0" in line
    observed(f"exit 2: {line}")


def test_a_setting_that_the_checkpoint_does_not_know_is_no_change_of_its_optimiser():
    start = SimpleNamespace(path="last.ckpt")
    resume._check_held(start, ["model.training.gamma: not set -> 0.1", "model.objective.alpha: 1.0 -> 0.5"])
    with user_error("last.ckpt is of another run: model.objective.teacher_lr: 0.1 -> 0.2; optimiser and schedule go on"):
        resume._check_held(start, ["model.objective.teacher_lr: 0.1 -> 0.2"])


def test_the_precision_that_auto_stands_for_counts():
    """Pre-empted on a machine with bfloat16, resumed on one without."""
    was, now = ({"config": {"trainer": {"max_epochs": 2}}, "precision": kind} for kind in ("bf16-mixed", "32-true"))
    assert changes(was, now) == ["precision: bf16-mixed -> 32-true"]
    assert changes({"config": was["config"]}, now) == []  # a checkpoint that does not say it


def test_the_number_of_processes_and_the_teacher_count():
    was = {"config": {"trainer": {"max_epochs": 2}, "model": {"teacher": {"sha256": "ab"}}}, "processes": 1}
    now = {"config": {"trainer": {"max_epochs": 2}, "model": {"teacher": {"sha256": "cd"}}}, "processes": 2}
    assert changes(was, now) == ["model.teacher.sha256: ab -> cd", "processes: 1 -> 2"]


@pytest.mark.fault(45)
def test_changes_that_are_allowed_are_told(command, capsys, run, observed):
    smoothed = "--model.init_args.training.label_smoothing=0.1"
    words = command(run, "pgd_at", *OPTIONS, "--trainer.max_epochs=3", smoothed, "--resume=auto")
    status, _, err = cli(capsys, *words, "--allow_changes=true")
    line = "ard: resuming with changes: model.training.label_smoothing: 0.0 -> 0.1"
    assert (status, err.splitlines()[2]) == (0, line)
    assert "trainer.max_epochs: 2 -> 3: the learning rate falls after as many steps as it was to fall before" in err
    observed(f"exit {status} with --allow_changes true: {line}")


def test_a_perturbation_of_other_images_is_not_taken_over(fit, tmp_path):
    """Free replays on batches of another size begin with a fresh one."""
    free = ["--model.init_args.replays=2", "--trainer.max_epochs=4", OPTIONS[1]]
    fit(tmp_path / "run", "free_at", *free[:1], "--trainer.max_epochs=2", OPTIONS[1])
    more = ["--data.init_args.batch_size=16", "--allow_changes=true", "--resume=auto"]
    assert fit(tmp_path / "run", "free_at", *free, *more).model.delta.shape == (16, 1, 8, 8)


@pytest.mark.fault(45)
@pytest.mark.parametrize(
    "moving", ["schedule=one_cycle", "schedule=cosine", "schedule=triangular", "eps_ramp=[0, 1]", "first_steps=1"]
)
def test_a_run_may_become_longer_unless_something_moves_to_its_end(moving, fit, tmp_path, observed):
    """Else it would go back: a rate that is down would be up again, a radius that is whole a part."""
    option = ["--model.init_args.training.schedule=multistep", f"--model.init_args.training.{moving}"]
    fit(tmp_path, "pgd_at", *option)
    before, said = contents(tmp_path), moving.removeprefix("schedule=").partition("=")[0]
    with user_error(f"trainer.max_epochs: 1 -> 3, but {said} would go back: expected the same max_epochs") as caught:
        fit(tmp_path, "pgd_at", *option, "--trainer.max_epochs=3", "--resume=auto")
    assert contents(tmp_path) == before
    if "one_cycle" in moving:
        observed(f"max_epochs may grow under multistep; exit 2: {caught.value}")


@pytest.mark.parametrize(
    ("recipe", "options", "moving"),
    [
        ("adr", [], "ADR"),
        ("liet", [], "LIET"),
        ("rslad_igdm", [], "IGDM"),
        ("pgd_at_awp", ["--model.init_args.weight_perturbation.start=0.5"], "AWP"),
    ],
)
def test_a_method_that_goes_by_the_share_of_training_keeps_a_run_from_becoming_longer(
    recipe, options, moving, fit, tmp_path
):
    fit(tmp_path, recipe, OPTIONS[1], *options)
    with user_error(f"trainer.max_epochs: 1 -> 3, but {moving} would go back: expected the same max_epochs$"):
        fit(tmp_path, recipe, OPTIONS[1], *options, "--trainer.max_epochs=3", "--resume=auto")


def test_a_run_that_was_changed_under_way_is_not_taken_for_one_that_never_was(fit, run, tmp_path):
    """Its digest is its own, also when it is resumed once more without a change."""
    longer = [OPTIONS[1], "--trainer.max_epochs=3", "--trainer.log_every_n_steps=2"]
    assert fit(run, "pgd_at", *longer, "--resume=auto").trainer.global_step == 6
    grown = digest_of_card(run)
    fit(tmp_path / "straight", "pgd_at", *longer)
    assert grown != digest_of_card(tmp_path / "straight")
    changed = [OPTIONS[1], "--trainer.max_epochs=4", "--model.init_args.training.label_smoothing=0.1"]
    fit(run, "pgd_at", *changed, "--resume=auto", "--allow_changes=true")
    assert digest_of_card(run) not in (grown, digest_of_card(tmp_path / "straight"))
    longest = [*changed, "--trainer.max_epochs=5"]
    fit(tmp_path / "other", "pgd_at", *longest, f"--ckpt_path={run / 'last.ckpt'}")
    fit(run, "pgd_at", *longest, "--resume=auto")
    assert digest_of_card(tmp_path / "other") == digest_of_card(run)


def test_where_it_was_changed_is_told_and_its_config_is_known(fit, run, capsys):
    """Beside a row with these options throughout a table says so."""
    fit(run, "pgd_at", OPTIONS[1], "--trainer.max_epochs=3", "--resume=auto")
    assert cli(capsys, "evaluate", run / "last.safetensors", "--limit", "20")[0] in (0, 3, 4)
    training = read_record(run / "last.evaluation.json").training
    assert training.resumed_with == ("trainer.max_epochs: 2 -> 3",)
    assert training.config["trainer"]["max_epochs"] == 3
    assert training.settings["resumed with"] == "trainer.max_epochs: 2 -> 3"


def test_a_teacher_that_is_replaced_while_a_resumed_run_begins_is_noticed(fit, teacher_of, tmp_path, monkeypatch):
    teacher = tmp_path / "teacher.safetensors"
    teacher.write_bytes(teacher_of(10).read_bytes())
    options = [*OPTIONS, f"--model.teacher.weights={teacher}"]
    fit(tmp_path / "run", "rslad", *options)
    check = resume.check_same

    def replaced(*given, **more):
        found = check(*given, **more)
        save_weights(teacher, load(teacher).double().float().apply(moved), card_of(teacher))
        return found

    monkeypatch.setattr(resume, "check_same", replaced)
    with user_error("a file of weights was replaced while the run began"):
        fit(tmp_path / "run", "rslad", *options[1:], "--trainer.max_epochs=3", "--resume=auto")


def moved(part):
    for parameter in part.parameters(recurse=False):
        parameter.data += 0.1


def digest_of_card(folder):
    return read_weights(folder / "last.safetensors")[1].training.config_digest


@pytest.mark.fault(14)
def test_a_checkpoint_of_another_network_is_refused(command, capsys, run, observed):
    words = command(run, "pgd_at", *OPTIONS, "--resume=auto", student=[])
    words += ["--model.init_args.student=ard.models.ResNet"]
    words += [f"--model.init_args.student.init_args.{part}" for part in ("in_channels=1", "width=8", "blocks=[1]")]
    line = refused(capsys, run, *words)
    assert "last.ckpt holds MobileNetV2 with PGDAT, this run trains ResNet with PGDAT" in line
    assert re.search(r"missing: student\.\S+, .*; unexpected: student\.\S+", line)
    observed(f"exit 2: {line}")


def test_what_an_exception_interrupts_leaves_the_checkpoints_alone(fit, run):
    class Breaks(Callback):
        def on_before_optimizer_step(self, trainer, engine, optimizer):  # noqa: ARG002
            next(engine.student.parameters()).data.fill_(float("nan"))
            raise ArithmeticError("in the middle of a step")

    before = {name: content for name, content in contents(run).items() if "ckpt" in name or "safetensors" in name}
    with pytest.raises(ArithmeticError):
        fit(run, "pgd_at", OPTIONS[1], "--trainer.max_epochs=3", "--resume=auto", callbacks=[Breaks()])
    after = contents(run)
    assert {name: after[name] for name in before} == before
    assert {file.name for file in run.glob(".*")} == set()


def tell(directory, told):
    """Have the last checkpoint say something else of its run; None: nothing."""
    content = {**torch.load(directory / "last.ckpt", weights_only=True), "run": told}
    torch.save({key: value for key, value in content.items() if value is not None}, directory / "last.ckpt")
    (directory / "last.ckpt.sha256").unlink()


@pytest.mark.fault(49)
def test_other_versions_are_told(command, capsys, run, observed):
    told = torch.load(run / "last.ckpt", weights_only=True)["run"]
    tell(run, {**told, "versions": {**told["versions"], "torch": "2.6.0"}})
    status, _, err = cli(capsys, *command(run, "pgd_at", *OPTIONS, "--resume=auto"))
    line = f"ard: {run}/last.ckpt was written with torch 2.6.0, this is {torch.__version__}: bits may differ"
    assert (status, err.splitlines()[1]) == (0, line)
    observed(f"exit {status}: {line.replace(torch.__version__, '2.15.0')}")


@pytest.mark.parametrize("told", [None, 3, {}, {"config": 3, "versions": {}}, {"config": {}, "versions": []}])
def test_a_checkpoint_that_says_nothing_is_believed_with_a_word(command, capsys, run, told):
    tell(run, told)
    status, _, err = cli(capsys, *command(run, "pgd_at", *OPTIONS, "--resume=auto"))
    assert (status, "does not say what it was trained with: its options could not be compared" in err) == (0, True)


def test_the_config_of_a_resumed_run_starts_it_anew(fit, run):
    before = (run / "config.yaml").read_text()
    fit(run, "pgd_at", OPTIONS[1], "--trainer.max_epochs=3", "--resume=auto")
    assert "ckpt_path" not in before
    after = [line for line in (run / "config.yaml").read_text().splitlines() if "default_root_dir" not in line]
    before = before.replace("max_epochs: 2", "max_epochs: 3").splitlines()
    assert after == [line for line in before if "default_root_dir" not in line]


def test_a_schedule_of_another_number_of_steps_is_refused_and_multistep_is_not():
    trainer = SimpleNamespace(lr_scheduler_configs=[SimpleNamespace(scheduler=SimpleNamespace(total_steps=11))])
    engine = SimpleNamespace(optimizer_steps=20, training_block=SimpleNamespace(schedule="multistep"))
    resume.check_schedule(trainer, engine)
    engine.training_block.schedule = "cosine"
    with user_error("the cosine schedule of the checkpoint ends after 10 steps, this run has 20"):
        resume.check_schedule(trainer, engine)
