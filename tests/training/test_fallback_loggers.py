"""No logger stops a run, whichever of its methods fails; and metrics.csv waits for room."""

from pathlib import Path

import pytest
from pytorch_lightning import Callback
from pytorch_lightning.loggers.logger import Logger
from tiny import warned

from ard.artifacts.metrics import read_metrics

TWO_STEPS = ["--trainer.max_epochs=2"]


class Broken(Logger):
    """Fails in one of the ways in which a logger is used, the second time."""

    name, version = "broken", "0"

    def __init__(self, where: str):
        super().__init__()
        self.where, self.used = where, 0
        if where == "constructor":
            raise ModuleNotFoundError("No module named 'cloud'")

    def _use(self, where):
        self.used += where == self.where
        if self.used == 2 or (self.used and where in ("experiment", "finalize")):
            raise ConnectionError(f"{where}: the server is gone")

    @property
    def experiment(self):
        return self._use("experiment")

    def log_metrics(self, metrics, step=None):  # noqa: ARG002
        self._use("log_metrics")

    def log_hyperparams(self, *_, **__):
        self._use("log_hyperparams")

    def save(self):
        self._use("save")

    def finalize(self, status):  # noqa: ARG002
        self._use("finalize")


@pytest.mark.fault(46)
@pytest.mark.parametrize("where", ["constructor", "experiment", "log_metrics", "save", "finalize"])
def test_a_logger_that_fails_is_one_warning(fit, tmp_path, where, observed):
    with warned() as texts:
        fit(
            tmp_path,
            "natural",
            *TWO_STEPS,
            "--trainer.logger=test_fallback_loggers.Broken",
            f"--trainer.logger.where={where}",
        )
    assert len(texts) == 1
    assert "metrics.csv has all metrics" in texts[0]
    assert ("is missing" if where == "constructor" else f"{where}: the server is gone") in texts[0]
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv") if "val/clean_acc" in row] == ["1", "3"]
    assert (tmp_path / "student.safetensors").is_file()
    observed(f"warned: {texts[0]}")


def test_others_go_on_when_one_fails(fit, tmp_path):
    names = [f"{where}.yaml" for where in ("log_metrics", "never")]
    for name in names:
        text = f"{{class_path: test_fallback_loggers.Broken, init_args: {{where: {Path(name).stem}}}}}"
        (tmp_path / name).write_text(text)
    both = f"--trainer.logger=[{', '.join((tmp_path / name).read_text() for name in names)}]"
    with warned() as texts:
        engine = fit(tmp_path / "run", "natural", *TWO_STEPS, both).model
    assert len(texts) == 1
    assert [type(logger).__name__ for logger in engine.trainer.loggers] == ["MetricsCSV", "FallbackLogger", "FallbackLogger"]
    assert engine.trainer.loggers[2].where == "never"  # it is asked as if it stood there itself


class Full(Callback):
    """In the first epoch, what is written to metrics.csv meets a device without room."""

    def __init__(self, directory):
        self.temporary = directory / ".metrics.csv.tmp"

    def on_train_batch_start(self, trainer, *_):
        if trainer.current_epoch == 0:
            self.temporary.unlink(missing_ok=True)
            self.temporary.symlink_to("/dev/full")


@pytest.mark.fault(40)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize("epochs", [2, 1], ids=["room again", "never room"])
def test_no_room_for_metrics(fit, tmp_path, epochs, observed):
    with warned() as texts:
        fit(tmp_path, "natural", f"--trainer.max_epochs={epochs}", callbacks=[Full(tmp_path)])
    assert "metrics.csv cannot be written (No space left on device): training goes on" in texts[0]
    assert (tmp_path / "student.safetensors").is_file()
    assert not list(tmp_path.glob(".metrics*"))
    if epochs == 2:
        assert len(texts) == 1
        assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == ["0", "1", "2", "3"]
    observed(f"warned: {texts[0]}; {'metrics.csv whole once there was room' if epochs == 2 else 'training finished'}")
