"""Importing torch and Lightning in about two thirds of the CPU time that they take by themselves."""

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError

# What torchmetrics imports for metrics that nobody here uses: 2.4 CPU seconds, most of them scipy.signal and torchvision.
UNUSED = ("scipy", "matplotlib", "torchvision")


@contextmanager
def quick_imports() -> Iterator[None]:
    """Inside, the garbage collector is off: it would check a million new objects again and again, for about a second.

    Afterwards what was imported is left out of its rounds until the process ends. Where torch is there already, as in a test
    or a notebook, nothing is different from plain imports.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        _import_torchmetrics()
        yield
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)  # else extensions say at the end that they leaked


def _import_torchmetrics() -> None:
    """With the packages of UNUSED hidden from torchmetrics alone, while it looks for them."""
    try:
        from lightning_utilities.core import imports

        there, version = imports.package_available, imports._version
    except (ImportError, AttributeError):  # another version of it: then it takes longer
        return

    def version_unless_unused(package: str) -> str:
        if package in UNUSED:
            raise PackageNotFoundError(package)
        return version(package)

    imports.package_available = lambda package: package not in UNUSED and there(package)  # type: ignore[assignment]
    imports._version = version_unless_unused  # type: ignore[assignment]
    try:
        import torchmetrics  # noqa: F401
    finally:
        imports.package_available, imports._version = there, version
