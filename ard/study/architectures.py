"""The networks that names of RobustBench speak of."""

import re
from typing import Any


def architecture(name: str, dataset: str) -> tuple[dict[str, Any], bool]:
    """The network that a name of RobustBench speaks of, such as Chen2021LTD_WRN34_10, and whether it does."""
    if wide := re.search(r"_(?:WRN_?)?(\d\d)_(\d\d?)(?:_|$)", name):
        depth, widen = int(wide[1]), int(wide[2])
        return {"class_path": "ard.models.WideResNet", "init_args": {"depth": depth, "widen": widen}}, True
    if deep := re.search(r"_R(\d\d+)(?:_|$)", name):
        if dataset == "imagenet":
            return {"class_path": "ard.models.Torchvision", "init_args": {"name": f"resnet{deep[1]}"}}, True
        return {"class_path": "ard.models.ResNet", "init_args": {}}, deep[1] == "18"
    return {"class_path": "ard.models.ResNet", "init_args": {}}, False
