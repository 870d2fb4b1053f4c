"""Where the images are that the card of weights names: its paths were of the folder in which the training was started."""

import os
from pathlib import Path
from typing import Any

from ard.artifacts.card import own_section
from ard.cli.refusals import IN_FOLDERS
from ard.core.errors import UserError
from ard.core.terminal import say
from ard.core.text import printable
from ard.core.user_paths import written_out

PATH_ARGUMENTS = ("root", "others")  # arguments of data that name a file or folder


def card_section(section: dict[str, Any], weights: Path) -> dict[str, Any]:
    """The `data:` section of a card with paths of this machine; raises UserError where a folder of images is not here."""
    section = located(section, weights)
    innermost = own_section(section)
    root = (innermost.get("init_args") or {}).get("root")
    if str(innermost.get("class_path")).rpartition(".")[2] in IN_FOLDERS and root and not os.path.isdir(root):
        raise UserError(f"{weights} was trained on images in {root}, no folder here: --data-dir DIR says where they are now")
    return section


def with_folder(section: dict[str, Any], folder: str) -> dict[str, Any]:
    """A `data:` section whose images are in another folder; raises UserError for data that are in none."""
    arguments = dict(section.get("init_args") or {})
    if isinstance(arguments.get("base"), dict):
        return {**section, "init_args": arguments | {"base": with_folder(arguments["base"], folder)}}
    if "root" not in arguments:
        raise UserError(f"--data-dir {folder}: {section.get('class_path')} names no folder of images; leave it out")
    return {**section, "init_args": arguments | {"root": folder}}


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
    """As it stands where that leads from the current folder to something and the weights are below it; else below the
    nearest folder above the weights that has it, up to the current one where they are below it."""
    above, here = weights.resolve().parents, Path.cwd()
    if os.path.isabs(path) or (here in above and os.path.exists(path)):
        return path
    between = above[: above.index(here)] if here in above else above
    there = next((found for folder in between if os.path.exists(found := folder / path)), None)
    if there is None:
        return path
    if os.path.exists(path) and not os.path.samefile(path, there):
        raise UserError(
            f"{weights} was trained on {path!r}: seen from the weights that is {there}, from here {Path(path).resolve()}; "
            "expected one of them: name it in a config, --data FILE.yaml"
        )
    say(printable(f"ard: the images of {weights} are taken from {there}"), error=True)
    return str(there)
