"""One of two processes that train: recipes for two steps, one after the other, or by a call."""

import hashlib
import json
import os
from pathlib import Path

from prepared import enter_pair
from shipped_recipes import DIGITS, content
from small_runs import teacher_options


def digest(tensors):
    """Of names and bits."""
    return hashlib.sha256(b"".join(name.encode() + value.numpy().tobytes() for name, value in tensors.items())).hexdigest()


def fit_by_call(environment, folder, words):
    """`ard.fit` on both, as a script that Lightning starts once more calls it; each gives what the run has left."""
    import ard

    enter_pair(environment)
    result = ard.fit("natural", data="digits", out=folder, epochs=1, batch_size=32, devices=2, options=words)
    return 0 if set(result.accuracies) == {"clean", "robust"} and result.weights.is_file() else 1


def train(environment, place, teacher, recipes):
    """Writes down what this process has in the end of every recipe."""
    from ard.cli.lightning import CLI
    from ard.cli.messages import quiet

    quiet()
    enter_pair(environment)
    found = {}
    for recipe in recipes:
        said = content(recipe)
        words = ["fit", "-c", str(DIGITS), "-c", str(recipe)]
        words += [f"{option}={teacher}" for option in teacher_options(said)]
        words += [
            "--data.init_args.batch_size=32",
            "--trainer.accelerator=cpu",
            "--trainer.devices=2",
            "--trainer.strategy=ddp",
        ]
        words += ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false"]
        words += [f"--trainer.max_epochs={said['model']['init_args'].get('replays', 1)}"]
        engine = CLI([*words, f"--trainer.default_root_dir={place}/{recipe.stem}"]).model
        found[recipe.stem] = {
            "student": digest(engine.student.state_dict()),
            "objective": digest(engine.objective.state_dict()),
            "steps": engine.trainer.global_step,
        }
    Path(place, f"rank{os.environ['LOCAL_RANK']}.json").write_text(json.dumps(found))
