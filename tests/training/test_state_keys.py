"""The names under which a checkpoint keeps what callbacks saw: a renamed class would resume without it, in silence."""

import pytest
import torch

from ard.cli.lightning import CLI

RULE = "'every_n_train_steps': 0, 'every_n_epochs': 1, 'train_time_interval': None}"
BEST = f"Kept{{'monitor': 'val/robust_acc', 'mode': 'max', {RULE}"
LAST = f"Kept{{'monitor': None, 'mode': 'min', {RULE}"
KEYS = [  # in the order of their hooks: guards look before checkpoints are written, Stop comes last
    "TeacherCheck",
    "Screen",
    "Finite",
    "CatastrophicOverfitting",
    "RobustOverfitting",
    "Collapse",
    "UnchangedTeachers",
    "Summary",
    "LoggedRun",
    "Ranks",
    "RunFiles",
    BEST,
    LAST,
    "Stop",
]
WITHOUT_STATE = {"TeacherCheck", "LoggedRun", "Ranks", "Stop"}
OURS = {"ard", "run"}  # what a checkpoint holds beside Lightning's parts; `buffers` too where there are several ranks
PARTS = {"student", "objective", "average"}  # of the state dict: never a teacher


class Prepared(CLI):
    """Builds everything and trains nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


@pytest.fixture(scope="module")
def checkpoint(fit, tmp_path_factory):
    place = tmp_path_factory.mktemp("run")
    fit(place, "fair_ard", "--trainer.limit_train_batches=1", "--model.init_args.training.average=0.9")
    return torch.load(place / "last.ckpt", weights_only=True)


def test_callbacks_keep_their_state_under_these_keys(command, tmp_path):
    assert [callback.state_key for callback in Prepared(command(tmp_path, "rslad")).trainer.callbacks] == KEYS


def test_the_key_of_the_best_checkpoint_names_what_selects_it(command, tmp_path):
    found = [callback.state_key for callback in Prepared(command(tmp_path, "natural")).trainer.callbacks]
    assert found == [BEST.replace("robust", "clean") if key == BEST else key for key in KEYS]


def test_a_checkpoint_holds_the_state_of_these_callbacks(checkpoint):
    assert set(checkpoint["callbacks"]) == set(KEYS) - WITHOUT_STATE
    assert set(checkpoint) >= OURS


def test_the_state_dict_has_these_parts(checkpoint):
    names = list(checkpoint["state_dict"])
    assert {name.partition(".")[0] for name in names} == PARTS
    shipped = {name.removeprefix("student.") for name in names if name.startswith("student.")}
    average = {name.removeprefix("average.") for name in names if name.startswith("average.")}
    assert average == {"n_averaged", *(f"module.{name}" for name in shipped)}
