"""One of two processes that train every recipe for two steps, one after the other: `ddp_pair.py PLACE TEACHER RECIPE...`."""

import hashlib
import json
import os
import sys
from pathlib import Path

import yaml
from small_runs import teacher_options


def digest(tensors):
    """Of names and bits."""
    return hashlib.sha256(b"".join(name.encode() + value.numpy().tobytes() for name, value in tensors.items())).hexdigest()


def main(place, teacher, *recipes):
    from ard.cli.lightning import CLI
    from ard.cli.messages import quiet

    quiet()
    found = {}
    for recipe in map(Path, recipes):
        content = yaml.safe_load(recipe.read_text())
        words = ["fit", "-c", "configs/digits.yaml", "-c", str(recipe)]
        words += [f"{option}={teacher}" for option in teacher_options(content)]
        words += [
            "--data.init_args.batch_size=32",
            "--trainer.accelerator=cpu",
            "--trainer.devices=2",
            "--trainer.strategy=ddp",
        ]
        words += ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false"]
        words += [f"--trainer.max_epochs={content['model']['init_args'].get('replays', 1)}"]
        engine = CLI([*words, f"--trainer.default_root_dir={place}/{recipe.stem}"]).model
        found[recipe.stem] = {
            "student": digest(engine.student.state_dict()),
            "objective": digest(engine.objective.state_dict()),
            "steps": engine.trainer.global_step,
        }
    Path(place, f"rank{os.environ['LOCAL_RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
