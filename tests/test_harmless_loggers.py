"""No logger stops a run: absent, without a key, unreachable, dying; and metrics.csv waits for room."""

import os
import subprocess
import sys
import warnings
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import socket
from threading import Thread
from types import SimpleNamespace

import pytest
from kills_wandb import KillsWandb
from lightning_utilities.core.imports import RequirementCache
from pytorch_lightning import Callback
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import Logger

from ard.run import loggers
from ard.run.loggers import Harmless, unreachable, why_offline
from ard.run.metrics import read_metrics

TWO_STEPS = ["--trainer.max_epochs=2"]
WANDB = "--trainer.logger=pytorch_lightning.loggers.WandbLogger"
NOWHERE = "http://127.0.0.1:9"
KEY = "a" * 40


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


@contextmanager
def warned():
    """The warnings of ours that a user would see."""
    texts = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += [str(warning.message) for warning in caught if warning.category is UserWarning and "/ard/" in warning.filename]


@pytest.mark.fault(46)
@pytest.mark.parametrize("where", ["constructor", "experiment", "log_metrics", "save", "finalize"])
def test_a_logger_that_fails_is_one_warning(fit, tmp_path, where, observed):
    with warned() as texts:
        fit(
            tmp_path,
            "natural",
            *TWO_STEPS,
            "--trainer.logger=test_harmless_loggers.Broken",
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
        text = f"{{class_path: test_harmless_loggers.Broken, init_args: {{where: {Path(name).stem}}}}}"
        (tmp_path / name).write_text(text)
    both = f"--trainer.logger=[{', '.join((tmp_path / name).read_text() for name in names)}]"
    with warned() as texts:
        engine = fit(tmp_path / "run", "natural", *TWO_STEPS, both).model
    assert len(texts) == 1
    assert [type(logger).__name__ for logger in engine.trainer.loggers] == ["MetricsCSV", "Harmless", "Harmless"]
    assert engine.trainer.loggers[2].where == "never"  # it is asked as if it stood there itself


@pytest.mark.fault(46)
def test_wandb_that_is_not_installed(fit, tmp_path, monkeypatch, observed):
    missing = RequirementCache("wandb>=1000")
    monkeypatch.setattr("pytorch_lightning.loggers.wandb._WANDB_AVAILABLE", missing)
    with warned() as texts:
        fit(tmp_path, "natural", *TWO_STEPS, WANDB)
    (text,) = texts
    assert text.startswith("WandbLogger cannot be used, its library is missing")
    assert len(read_metrics(tmp_path / "metrics.csv")) == 4
    observed(f"not installed: warned: {text.splitlines()[0]}")


def wandb_settings(monkeypatch, **changes):
    settings = SimpleNamespace(**{"mode": "online", "api_key": KEY, "base_url": NOWHERE} | changes)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(setup=lambda: SimpleNamespace(settings=settings), run=None))


def logger_of(**options):
    return WandbLogger(project="ard", **options)


@pytest.mark.fault(46)
def test_wandb_without_a_key_stays_offline(monkeypatch, tmp_path, observed):
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    wandb_settings(monkeypatch, api_key=None)
    reason = why_offline(logger_of())
    assert reason == f"no API key for {NOWHERE} (`wandb login`, or WANDB_API_KEY)"
    observed(f"no key: offline, {reason}")
    netrc.write_text(f"machine 127.0.0.1 login user password {KEY}")
    netrc.chmod(0o600)
    assert "cannot be reached" in why_offline(logger_of())


def test_who_wants_to_be_offline_is_not_asked_why(monkeypatch):
    monkeypatch.setattr(loggers, "unreachable", lambda _: pytest.fail("the server was asked"))
    for mode in ("offline", "disabled", "dryrun"):
        wandb_settings(monkeypatch, mode=mode)
        assert why_offline(logger_of()) is None
    wandb_settings(monkeypatch)
    assert why_offline(logger_of(offline=True)) is None
    assert why_offline(logger_of(mode="disabled")) is None


def test_a_server_that_says_anything_is_there():
    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        Thread(target=server.handle_request, daemon=True).start()
        assert unreachable(f"http://127.0.0.1:{server.server_port}") is None


@pytest.mark.parametrize(
    ("url", "told"), [(NOWHERE, "Connection refused"), ("http://nowhere.invalid", "cannot be reached"), ("", "unknown url")]
)
def test_a_server_that_is_not_there(url, told):
    assert told in unreachable(url)


def test_a_server_that_keeps_silent():
    with socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}", 0.2) in (
            "gives no answer within 0.2 s",
            "cannot be reached (timed out)",
        )


def test_an_online_start_that_fails_is_made_again_offline():
    """The probe saw a server, and then the key was wrong."""

    class Wrong(WandbLogger):
        @property
        def experiment(self):
            if self._wandb_init.get("mode") != "offline":
                raise PermissionError("401")
            return "an experiment"

    with warned() as texts:
        logger = Harmless(Wrong(project="ard"))
        logger.begun = True
        assert logger.experiment == "an experiment"
    assert [text.split(":")[:3] for text in texts] == [["wandb", " PermissionError", " 401"]]


def process(command, place, *more, **environment):
    """`ard fit` in a process of its own, with a wandb that knows a key and no server."""
    words = command(place / "run", "natural", *TWO_STEPS, WANDB, f"--trainer.logger.save_dir={place}", *more)
    folder = Path(__file__).parent
    environment = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": NOWHERE, "PYTHONPATH": f"{folder.parent}:{folder}", **environment}
    done = subprocess.run(
        [sys.executable, "-m", "ard", *words], env=os.environ | environment, capture_output=True, text=True, timeout=180
    )
    told = [line for line in done.stderr.splitlines() if line.startswith("ard: ")]
    assert "Traceback" not in done.stderr
    assert [row["step"] for row in read_metrics(place / "run" / "metrics.csv") if "val/clean_acc" in row] == ["1", "3"]
    assert len(list(place.glob("wandb/offline-run-*/*.wandb"))) == 1
    return done.returncode, told


@pytest.mark.slow
@pytest.mark.fault(46)
def test_wandb_that_cannot_be_reached(command, tmp_path, observed):
    status, told = process(command, tmp_path)
    assert status == 0
    assert len(told) == 1
    assert f"wandb: {NOWHERE} cannot be reached (Connection refused): offline" in told[0]
    observed(f"unreachable: exit {status}: {told[0]}")


@pytest.mark.slow
@pytest.mark.fault(46)
def test_wandb_that_dies_in_the_middle(command, tmp_path, observed):
    callback = f"--trainer.callbacks={KillsWandb.__module__}.KillsWandb"
    status, told = process(command, tmp_path, callback, WANDB_MODE="offline")
    assert status == 0
    assert len(told) == 1
    assert "WandbLogger failed and is switched off" in told[0]
    observed(f"its process killed: exit {status}: {told[0]}")


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
