"""Processes of a study: forked from a prepared one, they are what `python -m ard` in a shell would be."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from pytorch_lightning import Callback

from ard.study.processes import PREPARED, Processes

STOPPED = 130


class Probe(Callback):
    """Writes down where its process finds itself; from a program of its own it speaks, too."""

    def __init__(self, file: str) -> None:
        self.file = Path(file)

    def on_train_start(self, *_):
        found = {
            "gpus": os.environ["CUDA_VISIBLE_DEVICES"],
            "threads": torch.get_num_threads(),
            "program": sys.modules["__main__"].__spec__.name,
            "verb": sys.argv[1],
            "touched a GPU": torch.cuda.is_initialized(),
        }
        self.file.write_text(json.dumps(found))
        os.system("echo an echo; echo an error >&2")
        atexit.register(self.file.with_suffix(".left").touch)


def test_a_process_is_told_its_place_and_does_what_a_shell_would_do(command, tmp_path, monkeypatch):
    """Also where the study is in a job of SLURM with tasks, of which its runs are none."""
    monkeypatch.setenv("SLURM_NTASKS", "8")
    callback = ["--trainer.callbacks=test_study_launcher.Probe", f"--trainer.callbacks.file={tmp_path / 'probe.json'}"]
    words, log = command(tmp_path / "run", "natural", *callback), tmp_path / "log.txt"
    log.write_text("before\n")
    assert Processes().run(words, log, {"CUDA_VISIBLE_DEVICES": "7", "OMP_NUM_THREADS": "1"}) == 0
    found = json.loads((tmp_path / "probe.json").read_text())
    assert found == {"gpus": "7", "threads": 1, "program": "ard.__main__", "verb": "fit", "touched a GPU": False}
    assert (tmp_path / "probe.left").exists()
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert {"an echo", "an error"} <= set(lines)
    assert lines[-1].startswith("next: ard evaluate ")


def test_a_refused_command_has_its_status_and_its_line(tmp_path):
    log = tmp_path / "log.txt"
    assert Processes().run(["evaluat"], log, {}) == 2
    assert log.read_text().startswith("ard: no verb 'evaluat'")
    assert log.read_text().count("\n") == 1


def test_who_stops_ends_what_runs_and_starts_no_more(command, tmp_path):
    """The run saves the step it is in, as any run does that is asked to stop."""
    processes, statuses = Processes(), []
    words = command(tmp_path / "run", "natural", "--trainer.max_epochs=1000")
    thread = threading.Thread(target=lambda: statuses.append(processes.run(words, tmp_path / "log.txt", {})))
    thread.start()
    while not (tmp_path / "run" / "last.ckpt.sha256").exists():
        time.sleep(0.02)
    processes.stop()
    thread.join()
    assert statuses == [128 + signal.SIGTERM]
    assert processes.run(["--version"], tmp_path / "log.txt", {}) == STOPPED


def test_many_at_a_time_have_each_their_status(tmp_path):
    processes, statuses = Processes(), {}

    def start(number):
        verb = ["--version"] if number % 2 else ["nothing"]
        statuses[number] = processes.run(verb, tmp_path / f"{number}.txt", {})

    threads = [threading.Thread(target=start, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {number: 0 if number % 2 else 2 for number in range(12)}


def test_what_is_prepared_asks_for_no_gpu_and_the_data_alone_import_no_sklearn():
    """CUDA does not survive a fork; in a process of its own, for this one has asked long ago."""
    code = "import sys, torch, importlib; torch._C._cuda_getDeviceCount = lambda: sys.exit('asked')\n"
    code += "import ard.data; print('sklearn' in sys.modules)\n"
    code += f"[importlib.import_module(name) for name in {PREPARED!r}]; print(torch.cuda.is_initialized())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\nFalse\n"
