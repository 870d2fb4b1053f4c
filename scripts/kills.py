"""The campaign against interruptions: `ard` is killed, paused, short of disk, time and data, and ends as if it had not been.

`scripts/kills.py [--count N] [--only WORD] [--first K] [--seed S]` makes N tries, from the K-th on, of every kind whose name
holds WORD; a kind, a number and a seed make the same try again. After each: no traceback, an exit status that is documented,
no half-written file under its own name, nothing left running; started once more, the command leaves what an undisturbed one
leaves, bit for bit. Prints a table, and each try that was not survived. Linux only.
"""

import argparse
import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "study")]

import prepared  # noqa: E402
from conftest import FAST, TINY  # noqa: E402
from disturbances import KILL, STOP, Clock, Disk, Vanishing, is_stopped, running_in  # noqa: E402
from image_files import image_folder  # noqa: E402
from killed_runs import PAIR, VALIDATION, witnessed  # noqa: E402
from small_records import write_study  # noqa: E402
from small_runs import write_weights, write_yaml  # noqa: E402
from test_study_processes import overrides  # noqa: E402
from tries import Command, NotSurvivedError, Try  # noqa: E402

from ard.artifacts.metrics import read_metrics  # noqa: E402

Draw = random.Random
Kind = Callable[[Try, Draw], None]  # disturbs a try
ERRORS = (errno.ENOSPC, errno.EROFS, errno.EIO)
ENDED = {0, 2, 3, 4}  # what a command may end with
KILLED = {*ENDED, -KILL}
ASKED = {*KILLED, 143, -signal.SIGTERM}  # what is not yet listening ends with the signal itself
EPOCHS = 3
RUN = ["--trainer.default_root_dir=run", f"--trainer.max_epochs={EPOCHS}", "--resume=auto"]
METHOD = ["-c", f"{ROOT}/configs/digits.yaml", "-c", f"{ROOT}/configs/methods/pgd_at.yaml", *TINY, *FAST]
WHOLE = ["--data.init_args.batch_size=300", "--trainer.limit_train_batches=1.0"]
STUDENT = "checkpoints/tiny/pgd_at/seed0/student.safetensors"
PROOF = ["run/evaluation.adversarial.safetensors", "run/student.safetensors"]
OTHERS = {  # what somebody else may do in the same folder, without another outcome
    "fit": [["fit", *METHOD, *RUN, *WHOLE], ["verify", *PROOF]],
    "study": [["compare", "checkpoints/tiny"], ["evaluate", STUDENT, "--limit=20"]],
    "evaluate": [["verify", *PROOF], ["compare", "run"]],
}
IMAGES = [
    "--data=ard.data.ImageFolder",
    "--data.init_args={root: data, size: 8, grey: true, val_size: 6, batch_size: 6, workers: 0, memory_limit_mb: 0}",
]


def commands(place: Path) -> dict[str, Command]:
    """What is disturbed, by name; each works in a copy of a folder that is made here."""

    def template(name: str, fill: Callable[[Path], Any]) -> Path:
        (place / name).mkdir()
        fill(place / name)
        return place / name

    fit = ["fit", *METHOD, *RUN]
    test = ["evaluate", "run/student.safetensors", "--limit=20", "--save-adversarial"]
    evaluate = Command(test, template("evaluate", lambda folder: write_weights(folder / "run/student.safetensors")))
    return {
        "fit": Command([*fit, *WHOLE], template("fit", lambda _: None)),
        "study": Command(["study", "tiny.yaml"], template("study", _study)),
        "evaluate": evaluate,
        "verify": Command(["verify", *PROOF], evaluate.result),
        "compare": Command(
            ["compare", "digits"], template("compare", lambda folder: write_study(folder / "digits")), exact=True
        ),
        "images": Command([*fit, *IMAGES], template("images", lambda folder: image_folder(folder / "data"))),
        "pair": Command([*fit, *WHOLE, *PAIR], template("pair", lambda _: None), processes=2),
    }


def _study(folder: Path) -> None:
    (folder / "configs").symlink_to(ROOT / "configs")
    content = {"base": "configs/digits.yaml", "recipes": ["pgd_at"], "jobs": 2, "seeds": [0, 1], "evaluate": {"limit": 20}}
    write_yaml(folder / "tiny.yaml", {**content, "overrides": {"pgd_at": overrides(TINY, 2)}})


def killed(one: Try, draw: Draw) -> None:
    """Up to three times, at a random moment or in place of a change on disk; now and then it is asked to end."""
    _, seconds, changes = one.command.ended
    for _ in range(draw.randint(1, 3)):
        if changes and draw.random() < 0.4:
            one.ended(one.start(Disk(draw.randint(1, changes), signal=KILL)), KILLED)
        else:
            process = one.start()
            process.join(draw.uniform(0, seconds))
            (process.terminate if draw.random() < 0.2 else process.kill)()
            one.ended(process, ASKED)
        one.check()


def interleaved(one: Try, draw: Draw) -> None:
    """One stops in place of a change on disk, or at a random moment; another starts; the first goes on, or is killed."""
    first, second = _interleaved(one, draw, one.command.words)
    if draw.random() < 0.5:
        first.kill()
    _end(one, first, second)


def crossed(one: Try, draw: Draw) -> None:
    """The same with another command of the folder, which is killed as often as the first."""
    first, second = _interleaved(one, draw, draw.choice(OTHERS[one.command.words[0]]))
    for process in (first, second):
        if draw.random() < 0.5:
            process.kill()
    _end(one, first, second)


def _interleaved(one: Try, draw: Draw, words: list[str]) -> tuple[Any, Any]:
    _, seconds, changes = one.command.ended
    first = one.start(Disk(draw.randint(1, max(changes, 1)), signal=STOP))
    deadline = time.monotonic() + (30 if changes and draw.random() < 0.8 else draw.uniform(0, seconds))
    while first.is_alive() and not is_stopped(first.pid):
        if time.monotonic() > deadline:
            os.kill(first.pid, STOP)
        time.sleep(0.01)
    second = one.start(words=words)
    second.join(draw.uniform(0, 2 * seconds))
    return first, second


def _end(one: Try, first: Any, second: Any) -> None:
    while first.is_alive():  # it may stop only now
        os.kill(first.pid, signal.SIGCONT)
        first.join(0.05)
    one.ended(first, KILLED)
    one.ended(second, KILLED)


def starved(one: Try, draw: Draw) -> None:
    """The change of that number on disk fails."""
    allowed = {*ENDED, 1} if one.command.words[0] == "study" else ENDED  # 1: a run of it failed
    one.ended(one.start(Disk(one.number + 1, error=draw.choice(ERRORS))), allowed)


def out_of_time(one: Try, draw: Draw) -> None:
    """The clock jumps."""
    one.ended(one.start(Clock(draw.randrange(2**32))), {one.command.ended[0]})
    one.check()
    one.compare(one.command.outcome)


def bereft(one: Try, draw: Draw) -> None:
    """The data folder goes away while it trains, and comes back."""
    gone = one.folder / "data.gone"
    status = one.ended(one.start(Vanishing(draw.randint(1, 100))), {0, 2})
    if gone.exists() == (status == 0):
        raise NotSurvivedError(f"status {status}, {'without' if gone.exists() else 'with'} its data")
    if gone.exists():
        gone.rename(one.folder / "data")


def interrupted(one: Try, draw: Draw) -> None:
    """Ctrl-C, twice."""
    process, lock = one.start(), one.folder / "checkpoints/tiny/.lock"
    while process.is_alive() and not lock.exists():
        time.sleep(0.01)
    process.join(draw.uniform(0, one.command.ended[1]))
    for pause in (draw.choice((0, 0.5)) * draw.random(), 0):
        if process.is_alive():
            os.kill(process.pid, signal.SIGINT)
        process.join(pause)
    one.ended(process, {0, 130})


def bereaved(one: Try, draw: Draw) -> None:
    """One of two processes that train together is killed while they validate."""
    hit = {"epoch": draw.randrange(EPOCHS), "step": VALIDATION, "signals": [KILL], "rank": one.number % 2}
    words = [sys.executable, "-m", "ard", *one.command.words, witnessed(one.folder, **hit)]
    path = os.pathsep.join(sys.path[:2])
    with open(one.talk, "a") as talk:
        process = subprocess.Popen(words, cwd=one.folder, stdout=talk, stderr=talk, env={**os.environ, "PYTHONPATH": path})
    if process.wait(120) == 0:
        raise NotSurvivedError("status 0 with one process killed")
    one.kills += 1


def uneven(one: Try, draw: Draw) -> None:
    """Data that do not divide by two processes, nor by the batch: both are killed; validation counts each image once."""
    size = draw.randint(101, 400)
    sizes = [f"--data.init_args.val_size={size}", f"--data.init_args.batch_size={2 * draw.randint(25, 150)}"]
    one.command = Command([*one.command.words, *sizes, "--trainer.limit_val_batches=1.0"], one.command.template, processes=2)
    seconds = one.command.ended[1]
    pair = one.start_all()
    pair[0].join(draw.uniform(0, seconds))
    for process in pair:
        process.kill()
        one.ended(process, KILLED)
    rows = read_metrics(one.command.result / "run/metrics.csv")
    right = [float(row["val/clean_acc"]) * size for row in rows if "val/clean_acc" in row]
    if any(abs(count - round(count)) > 1e-3 for count in right):
        raise NotSurvivedError(f"{size} images for validation, {right} of them right")


def kinds(known: dict[str, Command]) -> dict[str, tuple[Kind, Command]]:
    """Every kind of try, by name."""
    of = {
        killed: ("fit", "study", "evaluate", "verify", "compare"),
        interleaved: ("fit", "study", "evaluate", "verify", "compare"),
    }
    of |= {crossed: OTHERS}
    of |= {starved: ("fit", "study", "evaluate", "compare"), out_of_time: ("fit", "study", "evaluate", "compare")}
    of |= {bereft: ("images",), interrupted: ("study",), bereaved: ("pair",), uneven: ("pair",)}
    return {f"{kind.__name__} {name}": (kind, known[name]) for kind, names in of.items() for name in names}


def tried(kind: Kind, one: Try, seed: str) -> str:
    """What was found; an empty string where the try was survived."""
    try:
        kind(one, Draw(seed))
        one.finish()
    except NotSurvivedError as found:
        return str(found)
    finally:
        for process in running_in(one.folder):
            os.kill(process, KILL)
    return ""


def row(name: str, kind: Kind, command: Command, place: Path, asked: argparse.Namespace) -> int:
    """Makes the tries of a kind and prints its row; how many were not survived."""
    count = kills = lost = 0
    for number in range(asked.first, asked.first + asked.count):
        one, seed = Try(command, place / "try", number), f"{name} {asked.seed} {number}"
        found = tried(kind, one, seed)
        if found:
            print(f"  {seed}: {found}", file=sys.stderr, flush=True)
        count, kills, lost = count + 1, kills + one.kills, lost + bool(found)
        changes = one.changes
        one.remove()
        if kind is starved and changes <= number:
            break  # no change on disk is left
    print(f"| {name} | {count} | {kills} | {count - lost} | {lost} |", flush=True)
    return lost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("count", 20), ("first", 0), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    prepared.start(int).join()  # so that no command's time is that of the imports
    print("| kind | tried | processes killed | survived | found |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        chosen = {name: pair for name, pair in kinds(commands(Path(folder))).items() if asked.only in name}
        return int(sum(row(name, *pair, Path(folder), asked) for name, pair in chosen.items()) > 0)


if __name__ == "__main__":
    sys.exit(main())
