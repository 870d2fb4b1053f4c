"""What test_extension.py runs in its copy of the tree, in one process: tests, the scripts of the documents, commands."""

import json
import shlex
import sys
from pathlib import Path

import pytest

FIT = "--trainer.max_epochs=1 --trainer.limit_train_batches=2 --trainer.limit_val_batches=1 --trainer.accelerator=cpu"
MORE = {"fit": [*FIT.split(), "--trainer.enable_progress_bar=false"], "evaluate": ["--limit=50"]}
FINE = (0, 3, 4)  # an evaluation may warn, or find what was trained for two batches unreliable


def main(todo):
    """The exit status of the first part that fails; 0."""
    before = contents(todo["kept"])
    if status := pytest.main(todo["pytest"]):
        return status
    assert contents(todo["kept"]) == before

    import costs
    import tables
    from image_files import fake_fashion
    from small_runs import less_effort

    from ard.__main__ import main as ard

    costs.main(["logit_pairing"])
    tables.main("methods.md", "evaluation.md")
    fake_fashion(Path("data"), 128)
    less_effort(pytest.MonkeyPatch())
    for command in todo["commands"]:
        words = shlex.split(command)
        print(f"$ ard {command}", flush=True)
        if ard([*words, *MORE.get(words[0], [])]) not in FINE:
            return 1
    return 0


def contents(names):
    """Of files, by name."""
    return {name: Path(name).read_bytes() for name in names}


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
