"""Every recipe on two processes: both ranks end with the same student and with the same state of the objective."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
RECIPES = sorted((TESTS.parent / "configs" / "objectives").glob("*.yaml"))


@pytest.mark.slow
def test_a_pair_of_processes_agrees_after_every_recipe(teacher_file, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "NODE_RANK": "0",
        "OMP_NUM_THREADS": "1",
    }
    environment = {**os.environ, **shared, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"}
    command = [sys.executable, str(TESTS / "ddp_pair.py"), str(tmp_path), str(teacher_file), *map(str, RECIPES)]
    pair = [
        subprocess.Popen(command, cwd=TESTS.parent, env={**environment, "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=400)[1].decode()[-2000:] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], errors
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2))
    assert set(first) == {path.stem for path in RECIPES}
    assert {name: told for name, told in first.items() if told != second[name]} == {}
    assert all(told["steps"] >= 2 for told in first.values())
