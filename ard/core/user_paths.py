"""Paths as people write them: `~` is their home, $NAME and ${NAME} are variables of the environment."""

import os
from typing import Any


def written_out(value: Any) -> Any:
    """A text with the home and the variables put in, so that no folder is ever called `~`; in trees every text.

    Shells do it for words alone: not behind the `=` of an option, not in a config, not on Windows, not in Python.
    """
    if isinstance(value, str):
        return os.path.expandvars(os.path.expanduser(value)) if value.startswith("~") or "$" in value else value
    if isinstance(value, list | tuple):
        return type(value)(written_out(part) for part in value)
    if isinstance(value, dict):
        return {key: written_out(part) for key, part in value.items()}
    if type(value).__name__ == "Namespace":  # jsonargparse's, see configs.files.check_finite
        for key, part in vars(value).items():
            setattr(value, key, written_out(part))
    return value
