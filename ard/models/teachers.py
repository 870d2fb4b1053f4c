"""Teachers made of other teachers, and teachers from RobustBench."""

import hashlib
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from ard.errors import UserError
from ard.models.frozen import Frozen


class Ensemble(Frozen):
    """Several teachers that speak with one voice: logits log (1/K) Σ_k softmax(T_k(x)), the mean of their probabilities.

    Pixels (batch, channels, H, W) in, (batch, C) out. Raises UserError for fewer than two members.
    """

    def __init__(self, *, members: Sequence[Frozen]) -> None:
        super().__init__(weights=" + ".join(member.weights for member in members))
        if len(members) < 2:
            raise UserError(f"an ensemble of {len(members)}: expected at least two members")
        self._held = list(members)

    def load(self, *, num_classes: int, input_shape: tuple[int, ...], option: str = "weights") -> Self:
        for place, member in enumerate(self._members):
            where = f"{option.removesuffix('.weights')}.members[{place}].init_args.weights"
            member.load(num_classes=num_classes, input_shape=input_shape, option=where)
        return self

    @property
    def _members(self) -> list[Frozen]:
        return [member for member in self._held if isinstance(member, Frozen)]

    @property
    def loaded(self) -> bool:
        return all(member.loaded for member in self._members)

    @cached_property
    def sha256(self) -> str:
        """Digest of the members' digests, in their order."""
        return hashlib.sha256("".join(member.sha256 for member in self._members).encode()).hexdigest()

    def learner(self) -> nn.Module:
        raise UserError(f"the teacher that learns on is an ensemble, {self.weights}: expected one network")

    def fingerprint(self) -> str:
        return hashlib.sha256("".join(member.fingerprint() for member in self._members).encode()).hexdigest()

    def forward(self, x: Tensor) -> Tensor:
        answers = torch.stack([member(x).float().log_softmax(dim=1) for member in self._members])
        return answers.logsumexp(dim=0) - math.log(len(answers))


class RobustBench(Frozen):
    """A model of RobustBench by its name there, such as Chen2021LTD_WRN34_10; its own normalisation is part of it.

    Read from `folder`/`dataset`/`threat`/`name`.pt, downloaded on first use. Raises UserError, with the place where the file
    belongs, when the package `robustbench` is missing, lists no such model or cannot download it.
    """

    def __init__(
        self,
        *,
        name: str,
        dataset: Literal["cifar10", "cifar100", "imagenet"] = "cifar10",
        threat: Literal["Linf", "L2"] = "Linf",
        folder: str = "models",
    ) -> None:
        super().__init__(weights=str(Path(folder, dataset, threat, f"{name}.pt")))
        self.name, self.dataset, self.threat, self.folder = name, dataset, threat, folder

    def read(self) -> nn.Module:
        try:
            from robustbench.utils import load_model
        except ImportError as error:
            raise UserError("ard.models.RobustBench needs the package: pip install robustbench") from error
        try:
            return load_model(self.name, model_dir=self.folder, dataset=self.dataset, threat_model=self.threat)
        except KeyError as error:
            raise UserError(f"RobustBench lists no {self.threat} model {self.name!r} for {self.dataset}") from error
        except Exception as error:  # no network, no quota, half a file: each its own exception
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"{self.weights}: {reason}; expected the file from RobustBench's table there") from error
