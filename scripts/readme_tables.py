#!/usr/bin/env python3
"""Write the tables between README's markers anew from the records they name; --check only says whether they agree."""

import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from ard.report import compare

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewritten(text: str) -> str:
    """README with every table made from the records below the folder that its marker names."""
    return BLOCK.sub(lambda match: match[1] + _block(match[2]) + match[3], text)


def _block(results: str) -> str:
    if not any((ROOT / results).rglob("evaluation.json")):
        return ""
    with TemporaryDirectory() as scratch:
        table = compare([ROOT / results], Path(scratch)).partition("\n\nPicture:")[0]
    return f"\n{table}\n\n![clean against worst-case accuracy]({results}/tradeoff.png)\n\n"


def main() -> int:
    """0 where README agrees with the records."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    if "--check" in sys.argv:
        return int(rewritten(text) != text)
    readme.write_text(rewritten(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
