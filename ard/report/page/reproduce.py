"""What to type to make the numbers of a run's page again."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from ard.artifacts.diagnosis import Diagnosis
from ard.artifacts.paths import LAST, RunFolder, weights_beside
from ard.artifacts.record import Record
from ard.core.text import radius

AGAIN = "again"  # where the commands write
FILE = "FILE"  # stands for weights of which a record has the digest alone
TOLD = "KL at temperature "  # and at which
LIBRARY = "torchattacks."


def commands_again(
    folder: RunFolder, evaluated: Path | None, record: Record | None, diagnosis: Diagnosis | None
) -> Iterator[tuple[str, str]]:
    """What each command does, and the command: of training, of the record `evaluated`, and of the diagnosis beside it."""
    weights = shlex.quote(_weights(folder, evaluated))
    if folder.config.is_file():
        weights = RunFolder(Path(AGAIN)).weights(LAST).as_posix() if evaluated == folder.records[-1] else AGAIN
        yield "train it again", f"ard fit -c {shlex.quote(folder.config.as_posix())} --trainer.default_root_dir {AGAIN}"
    if record is not None:
        bits = " --eight-bit" if record.threat.eight_bit else ""
        yield "measure it again", f"ard evaluate {weights} {_told(_evaluation(record))}{bits}"
    if diagnosis is not None:
        yield "look inside again", f"ard diagnose {weights} {_told(_look(diagnosis))}"


def _evaluation(record: Record) -> Mapping[str, object]:
    given = {"teacher": record.given.teacher, "undefended": record.given.undefended}
    return {
        "suite": record.suite,
        "norm": record.threat.norm,
        "eps": radius(record.threat.eps),
        "split": record.split if record.split != "test" else None,
        "limit": record.limit,
        "seed": record.seed or None,
        "attacks": ",".join(a.name.removeprefix(LIBRARY) for a in record.attacks if a.name.startswith(LIBRARY)) or None,
        **{name: FILE if digest else None for name, digest in given.items()},
        "transfer": ",".join(FILE for _ in record.given.transfer or ()) or None,
        "temperature": _temperature(record),
    }


def _temperature(record: Record) -> str | None:
    """That of the attack through the teacher, beside 1."""
    losses = [str(attack.settings.get("loss")) for attack in record.attacks]
    told = [number for loss in losses if loss.startswith(TOLD) for number in loss.removeprefix(TOLD).split(" and ")]
    return next((number for number in told if number != "1"), None)


def _look(diagnosis: Diagnosis) -> Mapping[str, object]:
    return {
        "only": ",".join(result.name for result in diagnosis.results),
        "eps": radius(diagnosis.threat.eps),
        "limit": diagnosis.n,
        "seed": diagnosis.seed,
        "teacher": ",".join(diagnosis.teacher.path.split(" + ")) if diagnosis.teacher else None,
    }


def _told(options: Mapping[str, object]) -> str:
    return " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None)


def _weights(folder: RunFolder, evaluated: Path | None) -> str:
    """Their folder, which stands for the student in it; their file where they have another name."""
    own = weights_beside(evaluated) if evaluated and evaluated != folder.records[0] else []
    return (own[0] if own else folder.root).as_posix()
