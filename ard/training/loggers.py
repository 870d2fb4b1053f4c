"""Loggers of other libraries: whatever fails in one of them, training continues."""

import json
import os
import ssl
import warnings
from collections.abc import Callable, Sequence
from http.client import HTTPException
from json import JSONDecodeError
from netrc import NetrcParseError, netrc
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import numpy as np
from PIL.Image import Image
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import DummyLogger, Logger

from ard.artifacts.run_name import RunName
from ard.core.text import named_error
from ard.training.callbacks.ranks import is_first

PROBE, START = 4.0, "5"  # seconds that a server has to answer in, and wandb to begin in; by itself it waits for two minutes
QUESTION = json.dumps({"query": "query { serverInfo { cliVersionInfo } }"}).encode()  # wandb's own, which needs no key
LONGEST_ANSWER = 1 << 16  # bytes
FINISH = "60"  # seconds at the end for what is not uploaded yet; wandb would wait for ever


def _method(name: str) -> Callable[..., Any]:
    def call(self: "FallbackLogger", *args: Any, **kwargs: Any) -> Any:
        return self.attempt(lambda: getattr(self.logger, name)(*args, **kwargs))

    return call


def _attribute(name: str) -> Any:
    return property(lambda self: getattr(self.logger, name))


class FallbackLogger(Logger):
    """A logger that can fail without stopping anything: one line of warning, and from then on it is silent.

    Weights & Biases goes offline first, before it begins where its server cannot be reached or it has no key.
    """

    def __init__(self, logger: Logger, trouble: str | None = None) -> None:
        super().__init__()
        self.logger, self.kind, self.trouble = logger, type(logger).__name__, trouble
        self.begun = False

    name, version, save_dir, log_dir, root_dir, group_separator = map(
        _attribute, ("name", "version", "save_dir", "log_dir", "root_dir", "group_separator")
    )
    log_metrics, log_hyperparams, log_graph, save, finalize, after_save_checkpoint = map(
        _method, ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint")
    )

    @property
    def experiment(self) -> Any:
        """The experiment of the logger, a dummy where it failed."""
        return self.attempt(lambda: getattr(self.logger, "experiment", None))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["logger"], name)

    def attempt(self, call: Callable[[], Any]) -> Any:
        """The result of `call`, which uses the logger; where that fails, its result without the logger."""
        try:
            if not self.begun and is_first():
                self.begun = True
                self._begin()
            return call()
        except Exception as error:  # loggers fail in all the ways that networks, disks and other people's code do
            self._retreat(error)
            return self.attempt(call)

    def _begin(self) -> None:
        if self.trouble:
            warnings.warn(f"{self.trouble}: training goes on without it; metrics.csv has all metrics", stacklevel=1)
        elif isinstance(self.logger, WandbLogger) and (reason := why_offline(self.logger)):
            _go_offline(self.logger, reason)

    def _retreat(self, error: Exception) -> None:
        logger, reason = self.logger, named_error(error)
        if isinstance(logger, WandbLogger) and logger._experiment is None and not _is_offline(logger):
            _go_offline(logger, reason)
            return
        self.logger = DummyLogger()
        warnings.warn(
            f"{self.kind} failed and is switched off ({reason}): training goes on, metrics.csv has all metrics", stacklevel=1
        )
        if isinstance(logger, WandbLogger):
            _forget()


def name_runs(loggers: Sequence[Logger], name: Callable[[], RunName], seed: int) -> None:
    """Before they begin: Weights & Biases shows the runs of a study together; what the user called them wins."""
    for logger in loggers:
        inside = logger.logger if isinstance(logger, FallbackLogger) else logger
        if isinstance(inside, WandbLogger):
            ours = {"group": name().study, "name": f"{name().method}/seed{seed}"}
            given = {key: value for key, value in inside._wandb_init.items() if value is not None}
            inside._wandb_init = {**inside._wandb_init, **ours, **given}


def log_summary(logger: Logger, numbers: dict[str, float], headline: float | None) -> None:
    """The numbers that a run ends with: in the summary of Weights & Biases; the headline in TensorBoard's table of runs."""
    if is_kind(logger, WandbLogger):
        attempt(logger, lambda: logger.experiment.summary.update(numbers))  # type: ignore[attr-defined]
    if is_kind(logger, TensorBoardLogger) and headline is not None:
        attempt(logger, lambda: logger.log_metrics({"hp_metric": headline}))


def takes_images(logger: Logger) -> bool:
    """Whether `log_image` can give it any."""
    return is_kind(logger, WandbLogger) or is_kind(logger, TensorBoardLogger)


def log_image(logger: Logger, name: str, image: Image, step: int) -> None:
    """Give a logger a picture."""
    if is_kind(logger, WandbLogger):
        attempt(logger, lambda: logger.log_image(name, [image], step))  # type: ignore[attr-defined]
    if is_kind(logger, TensorBoardLogger):
        pixels = np.asarray(image)
        attempt(logger, lambda: logger.experiment.add_image(name, pixels, step, dataformats="HWC"))  # type: ignore[attr-defined]


def is_kind(logger: Logger, kind: type[Logger]) -> bool:
    """Whether a logger is of a kind, and has not failed."""
    return isinstance(logger.logger if isinstance(logger, FallbackLogger) else logger, kind)


def attempt(logger: Logger, call: Callable[[], Any]) -> None:
    """Do it; a logger of ours that fails is switched off, any other's failure is a warning."""
    if isinstance(logger, FallbackLogger):
        logger.attempt(call)
        return
    try:
        call()
    except Exception as error:  # whatever it is, the training that it would describe is done
        warnings.warn(f"{type(logger).__name__}: {named_error(error)}", stacklevel=1)


def fallback_logger(kind: type[Logger], *args: Any, **kwargs: Any) -> Logger:
    """How the parser makes a logger: one whose library is not installed is replaced by one that says so, once."""
    try:
        return FallbackLogger(kind(*args, **kwargs))
    except ImportError as error:
        return FallbackLogger(
            DummyLogger(), f"{kind.__name__} cannot be used, its library is missing ({named_error(error)})"
        )


def why_offline(logger: WandbLogger) -> str | None:
    """Why Weights & Biases cannot go online from here; None where it can, or is set to be offline."""
    os.environ.setdefault("WANDB_FINISH_TIMEOUT", FINISH)
    os.environ.setdefault("WANDB_INIT_TIMEOUT", START)
    if _is_offline(logger):
        return None  # without setting up wandb, which would keep a mode that the logger has not set yet
    import wandb

    settings = wandb.setup().settings
    if settings.mode in ("offline", "disabled", "dryrun") or wandb.run is not None:
        return None
    if not _has_key(settings):
        return f"no API key for {settings.base_url} (`wandb login`, or WANDB_API_KEY)"
    trouble = unreachable(settings.base_url)
    return trouble and f"{settings.base_url} {trouble}"


def unreachable(url: str, seconds: float = PROBE) -> str | None:
    """Why no server of wandb answers within `seconds`; None where one does, be it that the asker is refused."""
    trouble: list[str] = []

    def ask() -> None:
        try:
            request = Request(f"{url}/graphql", QUESTION, {"Content-Type": "application/json"})
            with urlopen(request, timeout=seconds) as answer:
                json.loads(answer.read(LONGEST_ANSWER))
        except HTTPError as error:
            if error.code >= 500:
                trouble.append(f"is not well ({error.code} {error.reason})")
        except (HTTPException, JSONDecodeError, UnicodeDecodeError):
            trouble.append("answers, but not as a server of wandb")
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            if not isinstance(reason, ssl.SSLError):
                trouble.append(f"cannot be reached ({getattr(reason, 'strerror', None) or reason})")

    probe = Thread(target=ask, daemon=True)  # a name server may keep it longer than any timeout of a socket
    probe.start()
    probe.join(seconds)
    if probe.is_alive():
        return f"gives no answer within {seconds:g} s"
    return trouble[0] if trouble else None


def _has_key(settings: Any) -> bool:
    if settings.api_key or getattr(settings, "identity_token_file", None):
        return True
    try:
        hosts = netrc(os.environ.get("NETRC")).hosts
    except (OSError, NetrcParseError):
        return False
    url = urlsplit(settings.base_url)
    return bool({url.netloc, url.hostname, "api.wandb.ai"} & set(hosts))


def _is_offline(logger: WandbLogger) -> bool:
    return logger._offline or logger._wandb_init.get("mode") in ("offline", "disabled")


def _go_offline(logger: WandbLogger, reason: str) -> None:
    logger._wandb_init["mode"] = "offline"
    warnings.warn(f"wandb: {reason}: offline, `wandb sync` sends the run later; metrics.csv has all metrics", stacklevel=1)


def _forget() -> None:
    """Keep a wandb that failed from raising errors again when the process ends."""
    import wandb

    try:
        wandb.teardown(0)
    except Exception:  # it is being given up because it fails
        return
