"""`ard evaluate`, and `ard test`, its quick suite: one line for what cannot be measured comes before torch is imported."""

from pathlib import Path

from ard.artifacts.paths import weights_file
from ard.cli.quick_imports import quick_imports
from ard.cli.refusals import check_data, check_weights
from ard.evaluation.request import Request, split_commas

# None: a shard that is done before others
EXIT_STATUS = {"sound": 0, "upper bound": 0, None: 0, "warnings": 3, "unreliable": 4}


def evaluate_weights(weights: list[str], request: Request) -> int:
    """Measure clean and robust accuracy and write a record beside each file of weights.

    Args:
        weights: folders of runs, or files of weights: ours (.safetensors), Lightning checkpoints or plain state dicts.
        request: what to measure.
    """
    request.check()
    request = request.with_files()
    check_weights(*weights, request.teacher, request.undefended, *split_commas(request.transfer))
    check_data(request.data)
    with quick_imports():
        from ard.commands.evaluate_file import evaluate_files

    request.check_ball()
    return max(EXIT_STATUS[verdict] for verdict in evaluate_files([Path(weights_file(file)) for file in weights], request))


def quick_test(
    weights: list[str],
    data: str | None = None,
    data_dir: str | None = None,
    network: str | None = None,
    limit: int | None = None,
    eps: str | None = None,
    replace: bool = False,
    allow_mismatch: bool = False,
) -> int:
    """The quick suite on the test split: shorthand for `evaluate --suite quick`.

    Args:
        weights: folders of runs, or files of weights.
        data: a config with a `data:` section; by default what the weights were trained on.
        data_dir: the folder of the images, where they have moved.
        network: a network that is not ours: its class path, a YAML file {class_path, init_args}, or a run's config.yaml.
        limit: evaluate on this many images, equally many a class.
        eps: radius such as 8/255; by default the one the weights were trained against.
        replace: write over a record of these weights that says more, or something else.
        allow_mismatch: allow other classes or sizes than the weights name.
    """
    request = Request(
        data=data, data_dir=data_dir, network=network, limit=limit, eps=eps, replace=replace, allow_mismatch=allow_mismatch
    )
    return evaluate_weights(weights, request)
