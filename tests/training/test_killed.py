"""`ard fit` that is killed, interrupted or asked to stop, by real signals, against the same run left alone."""

import random
import re
from itertools import cycle
from pathlib import Path
from signal import SIG_IGN, SIGHUP, SIGINT, SIGKILL, SIGTERM, SIGUSR1, getsignal

import pytest
import torch
from killed_runs import EPOCH_START, VALIDATION, assert_same_run, ended

from ard.training.resume import newest

STEPS, EPOCHS = 3, 4
OPTIONS = [
    "--trainer.limit_train_batches=1.0",
    "--data.init_args.val_size=1300",
    f"--trainer.max_epochs={EPOCHS}",
    "--data.init_args.crop_padding=1",
    "--model.init_args.training.average=0.9",
]
FREE = [*OPTIONS[:2], f"--trainer.max_epochs={2 * EPOCHS}", "--model.init_args.replays=2"]


@pytest.fixture(scope="module")
def run(command):
    """run(place, **how): status and words of a run in that folder, which resumes what lies there."""

    def start(directory, recipe="pgd_at", **how):
        options = FREE if recipe == "fast_ard" else OPTIONS
        return ended(command(directory, recipe, *options, "--resume=auto"), directory, **how)

    return start


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    """alone(recipe): the folder of a run that nobody disturbed."""
    folders = {}

    def folder(recipe="pgd_at"):
        if recipe not in folders:
            folders[recipe] = tmp_path_factory.mktemp("alone") / recipe
            status, said = run(folders[recipe], recipe)
            assert (status, messages(said)) == (0, [f"ard: {folders[recipe]} holds no checkpoint: a new run"])
        return folders[recipe]

    return folder


def step_of(file):
    return torch.load(file, weights_only=True)["global_step"]


@pytest.mark.slow
@pytest.mark.fault(1, 2)
def test_killed_as_often_as_one_likes_it_ends_as_if_it_had_been_left_alone(run, alone, tmp_path, observed):
    draw, folder = random.Random(0), tmp_path / "run"
    for epoch, step in [(1, draw.randrange(1, STEPS)), (2, EPOCH_START), (2, draw.randrange(STEPS)), (3, VALIDATION)]:
        status, _ = run(folder, epoch=epoch, step=step, signals=[SIGKILL])
        assert status == -SIGKILL
        assert step_of(folder / "last.ckpt") == epoch * STEPS
    status, said = run(folder)
    said = f"{messages(said)[0]}\n"
    assert (status, said) == (0, f"ard: resuming from {folder}/last.ckpt, step {3 * STEPS}\n")
    assert_same_run(alone(), folder)
    observed(f"four times SIGKILL, then {said}weights, optimiser, schedule, metrics and order bit-identical")


@pytest.mark.slow
@pytest.mark.fault(3)
def test_killed_while_it_writes_it_goes_on_from_a_whole_checkpoint(run, alone, tmp_path, monkeypatch, observed):
    """Each process lives for about an epoch and dies in another of its writes; $TMPDIR lies on another file system."""
    places = [Path(place) for place in ("/dev/shm", "/var/tmp") if Path(place).is_dir()]
    elsewhere = [place for place in places if place.stat().st_dev != tmp_path.stat().st_dev]
    if not elsewhere:
        pytest.skip("one file system")
    syncs, folder, strays, reached = cycle(range(7, 12)), tmp_path / "run", set(), [0]
    monkeypatch.setenv("TMPDIR", str(elsewhere[0]))
    while run(folder, sync=next(syncs))[0] == -SIGKILL:
        strays |= {re.sub(r"\d{3,}", "N", file.name) for file in folder.glob(".*.tmp")}
        start, refused = newest(folder)
        assert refused == []
        reached.append(start.step)
    assert reached == sorted(reached)
    assert len(reached) > EPOCHS
    assert ".last.ckpt.tmp" in strays
    assert list(folder.glob(".*")) == []
    assert_same_run(alone(), folder)
    observed(f"killed {len(reached) - 1} times while writing: always a valid checkpoint; {' '.join(sorted(strays))} removed")


@pytest.mark.parametrize(
    ("number", "status", "recipe"),
    [
        (SIGTERM, 143, "pgd_at"),
        (SIGUSR1, 143, "pgd_at"),
        pytest.param(SIGTERM, 143, "fast_ard", marks=pytest.mark.slow),
    ],
)
@pytest.mark.fault(4)
def test_a_run_that_is_asked_to_stop_saves_the_step_it_is_in(run, alone, tmp_path, observed, number, status, recipe):
    folder = tmp_path / "run"
    stopped_and_resumed(run, alone, folder, number, status, recipe)
    observed(f"exit {status}: {number.name}, checkpoint of this step; --resume auto ends bit-identical ({recipe})")


@pytest.mark.skipif(getsignal(SIGHUP) == SIG_IGN, reason="these tests were started by nohup, and a run obeys it")
@pytest.mark.fault(56)
def test_a_run_whose_terminal_goes_away_saves_the_step_it_is_in(run, alone, tmp_path, observed):
    stopped_and_resumed(run, alone, tmp_path / "run", SIGHUP, 129, "pgd_at")
    observed("exit 129: SIGHUP, checkpoint of this step; --resume auto ends bit-identical")


@pytest.mark.fault(5)
def test_ctrl_c_saves_the_step_it_is_in(run, alone, tmp_path, observed):
    stopped_and_resumed(run, alone, tmp_path / "run", SIGINT, 130, "pgd_at")
    observed("exit 130, one line, a checkpoint of this step; --resume auto ends bit-identical")


def messages(said):
    """What a run says beside its lines of progress."""
    return [line for line in said.splitlines() if line.startswith("ard: ")]


def stopped_and_resumed(run, alone, folder, number, status, recipe):
    steps = (STEPS + 2) * (2 if recipe == "fast_ard" else 1)
    found, said = run(folder, recipe, epoch=1, step=1, signals=[number])
    assert found == status
    assert messages(said) == [
        f"ard: {folder} holds no checkpoint: a new run",
        f"ard: {number.name} after step {steps}: {folder}/last.ckpt holds it, --resume auto continues",
    ]
    assert step_of(folder / "last.ckpt") == steps
    assert not (folder / "student.safetensors").exists()
    found, said = run(folder, recipe)
    assert (found, messages(said)) == (0, [f"ard: resuming from {folder}/last.ckpt, step {steps}"])
    assert_same_run(alone(recipe), folder)


@pytest.mark.slow
@pytest.mark.fault(4)
@pytest.mark.parametrize("step", [STEPS - 1, VALIDATION])
def test_at_the_end_of_an_epoch_a_signal_waits_for_it(run, alone, tmp_path, step):
    folder = tmp_path / "run"
    assert run(folder, epoch=1, step=step, signals=[SIGTERM])[0] == 143
    assert step_of(folder / "best.ckpt") % STEPS == 0
    assert step_of(folder / "last.ckpt") == 2 * STEPS
    assert run(folder)[0] == 0
    assert_same_run(alone(), folder)


@pytest.mark.slow
@pytest.mark.fault(4)
def test_without_the_grace_to_finish_an_epoch_it_is_repeated(run, alone, tmp_path):
    """The scheduler's grace was too short; a checkpoint of the last step would have lost the epoch's validation."""
    folder = tmp_path / "run"
    assert run(folder, epoch=1, step=STEPS - 1, signals=[SIGTERM], grace=False)[0] == -SIGKILL
    assert step_of(folder / "last.ckpt") == STEPS
    assert run(folder)[0] == 0
    assert_same_run(alone(), folder)


@pytest.mark.fault(5)
def test_a_second_ctrl_c_ends_the_run_at_once(run, tmp_path, observed):
    status, said = run(tmp_path / "run", epoch=1, step=1, signals=[SIGINT, SIGINT])
    assert (status, said.splitlines()[-1]) == (130, "ard: interrupted")
    assert "Traceback" not in said
    assert step_of(tmp_path / "run" / "last.ckpt") == STEPS
    observed(f"a second one at once: exit {status}: {said.splitlines()[-1]}")
