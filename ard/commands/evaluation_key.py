"""What an evaluation's verdicts depend on: blocks of another one are not continued."""

import hashlib
import json
import sys
from functools import cache
from pathlib import Path

from torch import nn

import ard
from ard.artifacts.record_parts import GivenFiles
from ard.artifacts.typed_json import to_tree
from ard.cli.network_section import network_section
from ard.commands.subject import Subject
from ard.evaluation.measurement import versions
from ard.evaluation.request import Request, split_commas


def evaluation_key(subject: Subject, request: Request, files: GivenFiles, block_size: int) -> str:
    """A digest of everything that verdicts depend on: the name under which unfinished blocks are stored."""
    key = {
        "weights": subject.sha256,
        "network": [network_section(request.network), _sources(subject.model)] if request.network else None,
        "data": subject.digest,
        "threat": [subject.ball.norm, subject.ball.eps, request.eight_bit],
        "request": [request.suite, request.seed, split_commas(request.attacks), request.temperature, request.rehearse],
        "given": to_tree(files),
        "computed by": [versions(), _code(), subject.x.device.type, block_size],
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _sources(network: nn.Module) -> list[str]:
    """Digests of the files in which the classes of somebody's network are written, those of torch and ours left out."""
    modules = {type(part).__module__ for part in network.modules()}
    others = (
        sys.modules.get(name) for name in sorted(modules) if name.partition(".")[0] not in ("torch", "torchvision", "ard")
    )
    files = (getattr(module, "__file__", None) for module in others)
    return [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files if file and Path(file).is_file()]


@cache
def _code() -> str:
    """A digest of our own modules: an evaluation begun by other code is not continued."""
    digest = hashlib.sha256()
    for file in sorted(Path(ard.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
