"""The networks that names of RobustBench speak of."""

import re
from typing import Any

# Depth and width of teachers of papers whose names in RobustBench do not say them.
UNSAID = {"Zhang2019Theoretically": (34, 10), "Gowal2020Uncovering": (70, 16)}


def architecture(name: str, dataset: str) -> tuple[dict[str, Any], bool]:
    """The network that a name of RobustBench speaks of, such as Chen2021LTD_WRN34_10, and whether it does."""
    said = re.search(r"_(?:WRN_?)?(\d\d)_(\d\d?)(?:_|$)", name)
    if wide := UNSAID.get(name) or (said and (int(said[1]), int(said[2]))):
        return {"class_path": "ard.models.WideResNet", "init_args": {"depth": wide[0], "widen": wide[1]}}, True
    if deep := re.search(r"_R(\d\d+)(?:_|$)", name):
        if dataset == "imagenet":
            return {"class_path": "ard.models.Torchvision", "init_args": {"name": f"resnet{deep[1]}"}}, True
        return {"class_path": "ard.models.ResNet", "init_args": {}}, deep[1] == "18"
    return {"class_path": "ard.models.ResNet", "init_args": {}}, False
