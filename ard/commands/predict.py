"""`ard predict`."""

from ard.artifacts.paths import weights_file
from ard.cli.quick_imports import quick_imports
from ard.cli.refusals import check_weights
from ard.core.class_folders import files_of_images
from ard.core.errors import UserError
from ard.core.terminal import say
from ard.core.text import percent, printable


def predict_files(weights: str, images: list[str], network: str | None = None, top: int = 3) -> int:
    """Print what a network sees in image files: its classes, most probable first, with their probabilities.

    The images are read as those of training were: upright, in the same colours and size.

    Args:
        weights: a file of weights, or a run's folder.
        images: files of images, and folders of them.
        network: a network that is not ours: its class path, a YAML file {class_path, init_args}, or a run's config.yaml.
        top: how many classes are shown.
    """
    if top < 1:
        raise UserError(f"--top {top}: expected 1 or more")
    check_weights(weights)
    paths = files_of_images(images)
    with quick_imports():
        from ard.commands.predict_images import predictions

    for path, classes in predictions(weights_file(weights), paths, network):
        say(printable(f"{path}: {', '.join(f'{name} {percent(share)}' for name, share in classes[:top])}"))
    return 0
