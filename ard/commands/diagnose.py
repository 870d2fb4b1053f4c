"""`ard diagnose`: what a network is like inside; a misspelt name is refused before torch is imported."""

from ard.artifacts.paths import weights_file
from ard.cli.quick_imports import quick_imports
from ard.cli.refusals import check_data, check_weights
from ard.core.errors import UserError
from ard.diagnostics.names import named
from ard.evaluation.request import Request, split_commas


def diagnose_weights(
    weights: list[str],
    teacher: str = "",
    data: str | None = None,
    data_dir: str | None = None,
    network: str | None = None,
    only: str = "",
    other: str | None = None,
    limit: int = 1000,
    eps: str | None = None,
    seed: int = 0,
    exact: bool = False,
    replace: bool = False,
    allow_mismatch: bool = False,
) -> int:
    """Look inside networks: sensitivity, weights, likeness to the teacher; writes diagnosis.json beside each file.

    Args:
        weights: folders of runs, or files of weights; students of one architecture are shown side by side.
        teacher: weights to compare with; several, comma-separated, are an ensemble.
        data: a config with a `data:` section; by default what the weights were trained on.
        data_dir: the folder of the images, where they have moved.
        network: a network that is not ours: its class path, a YAML file {class_path, init_args}, or a run's config.yaml.
        only: names of diagnostics or groups, comma-separated, or all; by default the quick ones.
        other: a config with a `data:` section of images of another kind, for diagnostics that need them.
        limit: look at this many test images, equally many a class; where there are fewer, at all.
        eps: radius such as 8/255; by default the one the weights were trained against.
        seed: of everything that is drawn.
        exact: compute in full what is otherwise sampled.
        replace: write over a diagnosis that says more, or something else.
        allow_mismatch: allow other classes or sizes than the weights name.
    """
    names = named(split_commas(only)) if only else None
    if limit < 2:
        raise UserError(f"--limit {limit}: expected at least 2 images")
    request = Request(
        data=data, data_dir=data_dir, network=network, eps=eps, seed=seed, replace=replace, allow_mismatch=allow_mismatch
    )
    request.check()
    teachers = [weights_file(path) for path in split_commas(teacher)]
    check_weights(*weights, *teachers)
    check_data(data)
    check_data(other)
    with quick_imports():
        from ard.commands.diagnose_files import diagnose_files

    diagnose_files([weights_file(path) for path in weights], request, teachers, names, other=other, limit=limit, exact=exact)
    return 0
