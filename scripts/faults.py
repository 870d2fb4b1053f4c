"""Runs every test marked `fault` and writes docs/faults.md: case, what must happen, what was seen."""

import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "faults.md"
sys.path.insert(0, str(ROOT / "tests"))

from fault_cases import CASES  # noqa: E402

SILENT = "as expected"  # a test that shows a case and says nothing of it
HEAD = """# Faults: what goes wrong, and what happens then

Made by `scripts/faults.py` from the tests marked `fault`, with torch {torch} and pytorch-lightning {lightning}: each row
is a case, what must happen, and what its tests saw. {passed} of {count} tests passed over {cases} cases.

| | case | expected | observed |
|---|---|---|---|
"""


def main() -> int:
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        written = [f"--junitxml={report.name}", "-o", "junit_family=xunit1"]  # the other one takes no properties
        command = [sys.executable, "-m", "pytest", "-m", "fault", "-n", "2", *written, *sys.argv[1:]]
        one_thread_each = {**os.environ, "OMP_NUM_THREADS": "1"}
        status = subprocess.run(command, cwd=ROOT, env=one_thread_each, check=False).returncode
        tests = list(ElementTree.parse(report.name).iter("testcase"))
    PAGE.write_text(page(tests))
    return status


def page(tests: list[ElementTree.Element]) -> str:
    """The Markdown of what pytest's XML says."""
    seen: dict[int, list[str]] = defaultdict(list)
    tests = [test for test in tests if any(entry.get("name") == "fault" for entry in test.iter("property"))]
    failed = 0
    for test in tests:
        broken = test.find("failure") is not None or test.find("error") is not None
        failed += broken
        properties = [(entry.get("name"), entry.get("value") or "") for entry in test.iter("property")]
        observed = "; ".join(value for name, value in properties if name == "observed")
        skipped = test.find("skipped") is not None
        for name, value in properties:
            if name == "fault":
                seen[int(value)].append("**failed**" if broken else "skipped" if skipped else observed or SILENT)
    rows = [row(number, seen.get(number, [])) for number in sorted(CASES)]
    about = {"torch": version("torch").split("+")[0], "lightning": version("pytorch-lightning")}
    return HEAD.format(passed=len(tests) - failed, count=len(tests), cases=len(seen), **about) + "\n".join(rows) + "\n"


def row(number: int, observations: list[str]) -> str:
    case, expected = CASES[number]
    distinct = dict.fromkeys(part for part in observations if part != SILENT)
    parts = [part if observations.count(part) == 1 else f"{part} ({observations.count(part)} tests)" for part in distinct]
    if silent := observations.count(SILENT):
        parts.append(f"({silent} more {'test' if silent == 1 else 'tests'}, as expected)")
    return f"| {number} | {case} | {expected} | {'<br>'.join(parts) or 'no test'} |".replace("\n", " ")


if __name__ == "__main__":
    sys.exit(main())
