"""Weights & Biases absent, without a key, unreachable or dying: offline, or without it, and the run ends as it should."""

import os
import sys
from importlib.util import find_spec
from socket import socket
from threading import Thread
from types import SimpleNamespace

import pytest
from kills_wandb import KillsWandb
from lightning_utilities.core.imports import RequirementCache
from pytorch_lightning.loggers import WandbLogger
from tiny import warned

from ard.artifacts.metrics import read_metrics
from ard.study.processes import Processes
from ard.training import loggers
from ard.training.loggers import FallbackLogger, unreachable, why_offline

pytestmark = pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")

TWO_STEPS = ["--trainer.max_epochs=2"]
WANDB = "--trainer.logger=pytorch_lightning.loggers.WandbLogger"
NOWHERE = "http://127.0.0.1:9"
KEY = "a" * 40


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


NOT_WANDB = "answers, but not as a server of wandb"
ANSWERS = {
    b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data": 1}': None,
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n": None,
    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n": None,
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n": "is not well (502 Bad Gateway)",
    b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>": NOT_WANDB,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe": NOT_WANDB,
    b"hello there\r\n\r\n": NOT_WANDB,
}


@pytest.mark.fault(46)
@pytest.mark.parametrize("answer", ANSWERS)
def test_a_server_is_there_when_it_answers_as_one_of_wandb(answer, observed):
    """With anything else wandb would try for two minutes before the run begins."""

    def serve():
        asker, _ = server.accept()
        with asker:
            asker.recv(1 << 16)
            asker.sendall(answer)

    with socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        thread = Thread(target=serve, daemon=True)
        thread.start()
        trouble = unreachable(f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert trouble == ANSWERS[answer]
    observed(f"a server that says {answer[:25]!r}: {trouble or 'asked'}")


def test_the_start_is_bounded(monkeypatch):
    """By us, and by wandb's own limit, which is its user's where he sets it."""
    monkeypatch.delenv("WANDB_INIT_TIMEOUT", raising=False)
    wandb_settings(monkeypatch, mode="offline")
    why_offline(logger_of())
    assert loggers.PROBE + float(os.environ["WANDB_INIT_TIMEOUT"]) < 10
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "90")
    why_offline(logger_of())
    assert os.environ["WANDB_INIT_TIMEOUT"] == "90"


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
        logger = FallbackLogger(Wrong(project="ard"))
        logger.begun = True
        assert logger.experiment == "an experiment"
    assert [text.split(":")[:3] for text in texts] == [["wandb", " PermissionError", " 401"]]


def ended(command, place, *more, **environment):
    """`ard fit` in a process of its own, with a wandb that knows a key and no server."""
    words = command(place / "run", "natural", *TWO_STEPS, WANDB, f"--trainer.logger.save_dir={place}", *more)
    environment = {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": NOWHERE, **environment}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:  # wandb leaves some behind
            patch.delenv(name)
        status = Processes().run(words, place / "log.txt", environment)
    lines = (place / "log.txt").read_text().splitlines()
    told = [line for line in lines if line.startswith("ard: ")]
    assert "Traceback" not in "".join(lines)
    assert [row["step"] for row in read_metrics(place / "run" / "metrics.csv") if "val/clean_acc" in row] == ["1", "3"]
    assert len(list(place.glob("wandb/offline-run-*/*.wandb"))) == 1
    return status, told


@pytest.mark.slow
@pytest.mark.fault(46)
def test_wandb_that_cannot_be_reached(command, tmp_path, observed):
    status, told = ended(command, tmp_path)
    assert status == 0
    assert len(told) == 1
    assert f"wandb: {NOWHERE} cannot be reached (Connection refused): offline" in told[0]
    observed(f"unreachable: exit {status}: {told[0]}")


@pytest.mark.slow
@pytest.mark.fault(46)
def test_wandb_that_dies_in_the_middle(command, tmp_path, observed):
    callback = f"--trainer.callbacks={KillsWandb.__module__}.KillsWandb"
    status, told = ended(command, tmp_path, callback, WANDB_MODE="offline")
    assert status == 0
    assert len(told) == 1
    assert "WandbLogger failed and is switched off" in told[0]
    observed(f"its process killed: exit {status}: {told[0]}")
