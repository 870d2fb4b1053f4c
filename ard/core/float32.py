"""Products and convolutions in whole float32, whatever torch has been told before."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch


@contextmanager
def whole_float32() -> Iterator[None]:
    """No TF32 or bfloat16 inside a float32, of whose 23 bits they keep 10 and 7, and no algorithm chosen by the clock.

    All are good enough to train with, but may change the predicted class of an image. torch has two ways to ask for them,
    and the older one cannot be read where somebody has used the newer one.
    """
    with ExitStack() as stack:
        stack.callback(setattr, torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
        torch.backends.cudnn.benchmark = False
        restore: Callable[[], None] = lambda: None  # noqa: E731
        with suppress(RuntimeError):
            restore = _by_older_names()
        if not is_whole_float32():  # the newer names say what the older ones cannot
            restore()
            restore = _by_newer_names()
        stack.callback(restore)
        yield


def is_whole_float32() -> bool:
    """Whether none of them is allowed now."""
    if parts := _parts():
        return all(part.fp32_precision in ("ieee", "none") for part in parts)
    return torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32


def _by_older_names() -> Callable[[], None]:
    precision, in_convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    on_cpu = getattr(torch.backends.mkldnn, "matmul", None)  # has a precision of its own since torch 2.9
    before = getattr(on_cpu, "fp32_precision", None)
    if precision != "highest":
        torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False

    def restore() -> None:
        if precision != "highest":
            torch.set_float32_matmul_precision(precision)
        if before is not None:
            on_cpu.fp32_precision = before  # type: ignore[union-attr]
        torch.backends.cudnn.allow_tf32 = in_convolutions

    return restore


def _by_newer_names() -> Callable[[], None]:
    before = [(part, part.fp32_precision) for part in _parts()]
    for part, _ in before:
        part.fp32_precision = "ieee"

    def restore() -> None:
        for part, precision in before:
            part.fp32_precision = precision

    return restore


def _parts() -> list[Any]:
    """What has a precision of its own, since torch 2.9."""
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    parts = [getattr(backend, name, None) for backend in (cudnn, mkldnn) for name in ("matmul", "conv", "rnn")]
    return [part for part in (torch.backends.cuda.matmul, *parts) if hasattr(part, "fp32_precision")]
