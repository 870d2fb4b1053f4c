"""What `scripts/test.sh fast` must not wait for."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent


def test_the_fixtures_of_all_tests_import_neither_torch_nor_lightning():
    """In a process of its own; this one has imported everything already."""
    code = "import sys, conftest; print(*sorted({'torch', 'pytorch_lightning', 'sklearn', 'ard'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=TESTS, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
