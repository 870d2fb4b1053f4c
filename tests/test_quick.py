"""What `scripts/test.sh fast` must not wait for."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
FAST = ("core", "losses", "attacks", "models", "objectives", "artifacts")
IMPORTED = """
import sys
import conftest
print(*sorted({"torch", "pytorch_lightning", "sklearn", "ard"} & set(sys.modules)))
for folder, name in [word.split("/") for word in sys.argv[1:]]:
    sys.path.insert(0, folder)
    __import__(name)
print(*sorted({"pytorch_lightning", "sklearn"} & set(sys.modules)))
"""


def test_the_fixtures_import_no_torch_and_the_fast_tests_no_lightning():
    """In a process of its own; this one has imported everything already."""
    script = (TESTS.parent / "scripts" / "test.sh").read_text()
    assert f"tests/{{{','.join(FAST)}}}" in script
    files = [f"{folder}/{file.stem}" for folder in FAST for file in sorted((TESTS / folder).glob("test_*.py"))]
    done = subprocess.run([sys.executable, "-c", IMPORTED, *files], cwd=TESTS, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["", ""]
