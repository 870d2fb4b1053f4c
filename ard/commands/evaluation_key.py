"""What an evaluation's verdicts depend on: blocks of another one are not continued."""

import hashlib
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

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
        "network": _named(request.network, subject.model) if request.network else None,
        "data": subject.digest,
        "threat": [subject.ball.norm, subject.ball.eps, request.eight_bit],
        "request": [request.suite, request.seed, split_commas(request.attacks), request.temperature, request.rehearse],
        "given": to_tree(files),
        "computed by": [versions(), _code(), subject.x.device.type, block_size],
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


def _named(option: str, network: nn.Module) -> list[Any]:
    """What names the network, and digests of the files in which it and its layers are written: not of torch's, nor ours."""
    section = network_section(option)
    names = {section["class_path"].rpartition(".")[0], *(type(part).__module__ for part in network.modules())}
    others = [name for name in sorted(names) if name.partition(".")[0] not in ("torch", "torchvision", "ard")]
    files = [getattr(sys.modules.get(name), "__file__", None) for name in others]
    return [
        section,
        *(hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files if file and Path(file).is_file()),
    ]


@cache
def _code() -> str:
    """A digest of our own modules: an evaluation begun by other code is not continued."""
    digest = hashlib.sha256()
    for file in sorted(Path(ard.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
