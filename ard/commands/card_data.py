"""Where the images are that the card of weights names: its paths were of the folder in which the training was started."""

import os
from pathlib import Path
from typing import Any

from ard.core.errors import UserError
from ard.core.terminal import say
from ard.core.text import printable
from ard.core.user_paths import written_out

PATH_ARGUMENTS = ("root", "others")  # arguments of data that name a file or folder


def located(section: dict[str, Any], weights: Path) -> dict[str, Any]:
    """The `data:` section of a card, its relative paths such that they lead from the current folder to what they name."""
    return {
        key: located(value, weights)
        if isinstance(value, dict)
        else _place(written_out(value), weights)
        if key in PATH_ARGUMENTS and isinstance(value, str)
        else value
        for key, value in section.items()
    }


def _place(path: str, weights: Path) -> str:
    """As it stands where the weights are below the current folder; else below the nearest folder above them that has it."""
    above = weights.resolve().parents
    if os.path.isabs(path) or Path.cwd() in above:
        return path
    there = next((found for folder in above if os.path.exists(found := folder / path)), None)
    if there is None:
        return path
    if os.path.exists(path) and not os.path.samefile(path, there):
        raise UserError(
            f"{weights} was trained on {path!r}: seen from the weights that is {there}, from here {Path(path).resolve()}; "
            "expected one of them: name it in a config, --data FILE.yaml"
        )
    say(printable(f"ard: the images of {weights} are taken from {there}"), error=True)
    return str(there)
