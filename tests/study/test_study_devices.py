"""`--jobs-per-device`: never more processes on a GPU than were asked for, none that sees another's."""

import threading
import time
from contextlib import ExitStack

import pytest
from small_runs import cli, workplace, write_yaml

from ard.study.devices import Devices, visible_gpus
from ard.study.study import _takes_several


@pytest.fixture
def gpus(monkeypatch):
    return lambda *names: monkeypatch.setenv("CUDA_VISIBLE_DEVICES", ",".join(names))


@pytest.mark.parametrize("jobs_per_device", [1, 2, 3])
def test_places_fill_every_gpu_before_any_takes_a_second(gpus, jobs_per_device):
    gpus("3", "5")
    devices = Devices(8, jobs_per_device)
    assert devices.count == 2 * jobs_per_device
    with ExitStack() as stack:
        taken = [stack.enter_context(devices.place())["CUDA_VISIBLE_DEVICES"] for _ in range(devices.count)]
    assert taken == ["3", "5"] * jobs_per_device


@pytest.mark.parametrize(("jobs", "per_device", "count"), [(3, None, 3), (3, 2, 2)])
def test_without_a_gpu_nothing_is_bound(gpus, jobs, per_device, count):
    gpus()
    devices = Devices(jobs, per_device)
    assert devices.count == count
    with devices.place() as place:
        assert list(place) == ["OMP_NUM_THREADS"]


@pytest.mark.parametrize(("allowed", "threads"), [(None, 3), ("1", 1), ("2", 2), ("64", 3), ("4,2", 3), ("0", 1)])
def test_processes_share_the_cores_that_this_one_may_use(gpus, monkeypatch, allowed, threads):
    gpus()
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if allowed is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    with Devices(2).place() as place:
        assert place == {"OMP_NUM_THREADS": str(threads)}


def test_without_the_option_every_job_has_one_gpu_in_turn(gpus):
    """All of them would share each batch, and BatchNorm would see a part of it."""
    gpus("0", "1")
    devices = Devices(3)
    with ExitStack() as stack:
        taken = [stack.enter_context(devices.place())["CUDA_VISIBLE_DEVICES"] for _ in range(devices.count)]
    assert taken == ["0", "1", "0"]


def test_runs_that_are_shared_among_gpus_see_all(gpus):
    gpus("0", "1")
    with Devices(2, shared=True).place() as place:
        assert "CUDA_VISIBLE_DEVICES" not in place
    assert visible_gpus() == ["0", "1"]
    assert [_takes_several({"trainer": {"devices": value}}) for value in ("auto", None, 1, "1", 2, "2", -1, [0, 1])] == [
        *[False] * 4,
        *[True] * 4,
    ]


def test_a_third_process_waits_until_a_place_is_free(gpus):
    gpus("0")
    devices, now, most = Devices(1, 2), [], []

    def work():
        with devices.place():
            now.append(1)
            most.append(len(now))
            time.sleep(0.02)
            now.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 2


def test_the_processes_of_a_study_are_told_where_to_run(tmp_path, monkeypatch, gpus, capsys):
    place = workplace(tmp_path, monkeypatch)
    gpus("4", "7")
    seen = []

    def refused(_, __, log, environment):
        """A process that ends at once; the last line of its log says why."""
        seen.append((environment["CUDA_VISIBLE_DEVICES"], environment["OMP_NUM_THREADS"]))
        with open(log, "a") as file:
            file.write("ard: boom\n")
        return 2

    monkeypatch.setattr("ard.study.processes.Processes.run", refused)
    recipes = ["natural", "pgd_at", "free_at", "trades"]
    write_yaml(place / "tiny.yaml", {"base": "configs/digits.yaml", "recipes": recipes, "jobs": 1})
    status, _, err = cli(capsys, "study", "tiny.yaml", "--jobs-per-device", 1)
    assert (status, err.count("boom")) == (1, 4)
    assert {gpu for gpu, _ in seen} == {"4", "7"}
    assert len(seen) == 4


def test_less_than_one_is_one_line(capsys):
    status, _, err = cli(capsys, "study", "configs/studies/digits.yaml", "--jobs-per-device", 0)
    assert (status, err) == (2, "ard: --jobs-per-device 0: expected at least 1\n")
