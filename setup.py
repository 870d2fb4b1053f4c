"""What pyproject.toml cannot say: where the configs go in an installed package, and README without its repository."""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

CONFIGS = "ard.configs.shipped"  # ard/configs/catalogue.py looks there
MEASURED = "ard.bench.records"  # and ard/bench/measured.py there, for what was counted and timed
# An editable install finds them in the repository. Without them it is a path to that, and not a finder, which would come
# after the current folder: above a clone called `ard`, Python would take the clone itself for the package.
WHERE = {} if "editable_wheel" in sys.argv else {CONFIGS: "configs", MEASURED: "docs/results"}


def description() -> str:
    """README as it can be read away from the repository: without pictures, and with links into it as plain words."""
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)\n*", "", Path("README.md").read_text(encoding="utf-8"))
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]+\)", r"\1", text)


setup(
    packages=[*find_packages(include=["ard*"]), *WHERE],
    package_dir={"": ".", **WHERE},
    package_data={
        "ard": ["py.typed"],
        "ard.report.page": ["templates/*"],
        CONFIGS: ["**/*.yaml"],
        MEASURED: ["costs.json", "gpu-*/speed.json"],
    },
    long_description=description(),
    long_description_content_type="text/markdown",
)
