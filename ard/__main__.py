"""The verbs of the command line; the one module that joins all others."""

import sys
from collections.abc import Callable
from pathlib import Path

import ard
from ard.cli.messages import quiet, show
from ard.core.errors import UserError
from ard.core.suggestions import did_you_mean
from ard.evaluation.request import Request

USAGE = """usage: ard VERB ...

  fit       -c configs/<data>.yaml -c configs/objectives/<method>.yaml    train one student
  validate  -c configs/<data>.yaml -c configs/objectives/<method>.yaml --ckpt_path FILE
  study     configs/studies/<name>.yaml        teachers, methods, seeds, evaluation, comparison; resumes
  evaluate  WEIGHTS...                         clean and robust accuracy, with evidence
  test      WEIGHTS...                         evaluate --suite quick
  verify    ADVERSARIAL WEIGHTS                stored adversarial images: do they prove what they claim?
  compare   RUN_DIR...                         records -> table.md, table.csv and a picture
  bench                                        our training step against the released ones, on this machine
  doctor                                       is this machine fit, and which levers of speed does it have?
  doctor    -c ... -c ... [as for fit]         would this run go well? data, teacher, disk, logger, a step, its cost

ard VERB --help says more. Errors are one line; exit status 2 means that you can mend it.
"""

EXIT_STATUS = {"sound": 0, None: 0, "warnings": 3, "unreliable": 4}  # None: a shard that is done before others


def evaluate_weights(weights: list[str], request: Request) -> int:
    """Measure clean and robust accuracy and write a record beside each file of weights.

    Args:
        weights: files of weights: ours (.safetensors), Lightning checkpoints or plain state dicts.
        request: what to measure.
    """
    from ard.commands.evaluate import evaluate_file

    request.check()
    return max(EXIT_STATUS[evaluate_file(Path(file), request)] for file in weights)


def quick_test(
    weights: list[str], data: str | None = None, limit: int | None = None, eps: str | None = None, replace: bool = False
) -> int:
    """The quick suite on the test split: shorthand for `evaluate --suite quick`.

    Args:
        weights: files of weights.
        data: a config with a `data:` section; by default what the weights were trained on.
        limit: evaluate on this many images, equally many a class.
        eps: radius such as 8/255; by default the one the weights were trained against.
        replace: write over a record of these weights that says more, or something else.
    """
    return evaluate_weights(weights, Request(data=data, limit=limit, eps=eps, replace=replace))


def verify(file: str, weights: str, data: str | None = None, network: str | None = None) -> int:
    """Check stored adversarial images against weights and data, in this fresh process: ball, range, labels, verdicts.

    Args:
        file: what `ard evaluate --save_adversarial true` wrote.
        weights: the weights they were made for.
        data: a config with a `data:` section; by default what the weights were trained on.
        network: a YAML file {class_path, init_args} for weights that do not say which network they are for.
    """
    from ard.commands.verify import verify_file

    claim, wrong = verify_file(Path(file), Path(weights), data, network)
    print(f"{file}: {claim}: {'; '.join(wrong) or 'every image, label and verdict holds'}")
    return EXIT_STATUS["unreliable" if wrong else "sound"]


def study(config: str, jobs_per_device: int | None = None) -> int:
    """Train teachers and students, evaluate and compare them; finished runs are not repeated.

    Args:
        config: the study, such as configs/studies/digits.yaml.
        jobs_per_device: runs at a time on each GPU (or on the CPU), instead of the study's `jobs`.
    """
    from ard.cli.lightning import resolve_config
    from ard.report.comparison import compare_records as compare_records
    from ard.study.study import run_study

    if jobs_per_device is not None and jobs_per_device < 1:
        raise UserError(f"--jobs-per-device {jobs_per_device}: expected at least 1")
    status, table = run_study(Path(config), resolve_config, compare_records, jobs_per_device)
    show(table)
    return status


def compare(directories: list[str], output: str | None = None, mixed: bool = False, baseline: str | None = None) -> int:
    """Put the records below run directories side by side: table.md, table.csv and a picture.

    Args:
        directories: run directories, or folders of them such as checkpoints/digits.
        output: where to write; by default the first directory.
        mixed: allow rows with different data, eps, suite or number of images.
        baseline: the method that differences are taken to; by default the strongest one without a teacher.
    """
    from ard.report.comparison import compare_records as compare_records

    paths = [Path(directory) for directory in directories]
    show(compare_records(paths, Path(output or directories[0]), mixed=mixed, baseline=baseline))
    return 0


def bench(output: str = "benchmark.json", batch_size: int = 128, steps: int = 10, rounds: int = 5, only: str = "") -> int:
    """Time our training step against those of the released ARD and RSLAD codes, on this machine.

    Args:
        output: where the record goes; with --only, the other groups of a record that lies there are kept.
        batch_size: images a step.
        steps: of PGD.
        rounds: interleaved repetitions; ratios are their medians.
        only: groups whose name contains this, such as MobileNetV2 or RSLAD.
    """
    import json

    from ard.bench.benchmark import benchmark
    from ard.bench.report import bench_table
    from ard.core.files import write_whole

    onto = json.loads(Path(output).read_text()) if only and Path(output).exists() else None
    record = benchmark(batch_size=batch_size, steps=steps, count=rounds, only=only, onto=onto)
    write_whole(Path(output), json.dumps(record, indent=1) + "\n")
    show(bench_table(record))
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "evaluate": evaluate_weights,
    "test": quick_test,
    "study": study,
    "compare": compare,
    "verify": verify,
    "bench": bench,
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(argv)
    except UserError as error:
        print(f"ard: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ard: interrupted", file=sys.stderr)
        return 130


def _dispatch(argv: list[str]) -> int:
    verb = argv[0] if argv else "--help"
    if verb in ("-h", "--help"):
        print(USAGE)
        return 0
    if verb == "--version":
        print(ard.__version__)
        return 0
    quiet()
    if verb in ("fit", "validate"):
        from ard.cli.lightning import run

        run(argv)
        return 0
    if verb == "doctor":
        from ard.commands.doctor import doctor

        return doctor(argv[1:])
    if verb in COMMANDS:
        from ard.cli.parsing import parse

        return COMMANDS[verb](**parse(verb, COMMANDS[verb], argv[1:]))
    near = did_you_mean(verb, ["fit", "validate", "doctor", *COMMANDS])
    raise UserError(f"no verb {verb!r}" + (near or "; ard --help lists them"))


if __name__ == "__main__":
    sys.exit(main())
