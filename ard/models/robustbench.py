"""Teachers from RobustBench."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from torch import nn

from ard.core.errors import UserError
from ard.core.ranges import one_of
from ard.core.text import first_line
from ard.core.user_paths import written_out
from ard.models.frozen import Frozen

BenchDataset = Literal["cifar10", "cifar100", "imagenet"]
BenchThreat = Literal["Linf", "L2"]
# PyPI's 1.1.1 lacks the `autoattack` that it imports, and both import pkg_resources, which setuptools 82 no longer has.
INSTALL = "pip install 'setuptools<82' git+https://github.com/RobustBench/robustbench"


def loader() -> Callable[..., nn.Module]:
    """RobustBench's load_model; raises UserError where its package is not there, or lacks what it imports itself."""
    try:
        from robustbench.utils import load_model
    except ImportError as error:
        reason = first_line(str(error) or type(error).__name__)
        raise UserError(f"ard.models.RobustBench needs the package `robustbench` ({reason}): {INSTALL}") from error
    return load_model


class RobustBench(Frozen):
    """A model of RobustBench by its name there, such as Chen2021LTD_WRN34_10; its own normalisation is part of it.

    Read from `folder`/`dataset`/`threat`/`name`.pt, downloaded on first use. Raises UserError, with the place where the file
    belongs, when the package `robustbench` is missing, lists no such model or cannot download it.

    Args:
        name: As on robustbench.github.io.
        dataset: The images it was trained on.
        threat: The attacks it was trained against.
        folder: Where the files are, or are downloaded to.
    """

    def __init__(
        self,
        *,
        name: str,
        dataset: BenchDataset = "cifar10",
        threat: BenchThreat = "Linf",
        folder: str = "models",
    ) -> None:
        one_of(BenchDataset, dataset=dataset)
        one_of(BenchThreat, threat=threat)
        folder = written_out(folder)
        super().__init__(weights=str(Path(folder, dataset, threat, f"{name}.pt")))
        self.name, self.dataset, self.threat, self.folder = name, dataset, threat, folder

    def check_there(self) -> None:
        loader()

    def read(self, num_classes: int) -> nn.Module:  # noqa: ARG002
        load_model = loader()
        try:
            return load_model(self.name, model_dir=self.folder, dataset=self.dataset, threat_model=self.threat)
        except KeyError as error:
            raise UserError(f"RobustBench lists no {self.threat} model {self.name!r} for {self.dataset}") from error
        except Exception as error:  # no network, no quota, half a file: each its own exception
            reason = first_line(str(error) or type(error).__name__)
            raise UserError(f"{self.weights}: {reason}; expected the file from RobustBench's table there") from error
