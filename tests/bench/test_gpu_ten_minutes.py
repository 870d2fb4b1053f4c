"""scripts/gpu_ten_minutes.sh: the order of its tasks, what is skipped, what is cut, and that every command is one."""

import json
import subprocess
from pathlib import Path

import gpu_ten_minutes
import pytest
import torch
from deadline import Deadline, Task
from gpu_ten_minutes import benches, claim, real, steps, toy
from shipped_recipes import RECIPES
from small_runs import ROOT


class Machine:
    """A clock that moves when somebody sleeps, and processes that take as long as they are said to."""

    def __init__(self, **seconds):
        self.now, self.seconds, self.finished, self.begun, self.cut = 0.0, seconds, set(), [], []

    def sleep(self, seconds):
        self.now += seconds

    def start(self, task, _):
        self.begun.append(task.name)
        machine, until = self, self.now + self.seconds[task.name]

        class Process:
            @property
            def exitcode(self):
                if machine.now < until:
                    return None
                machine.finished.add(task.name)
                return 0

            def terminate(self):
                machine.cut.append(task.name)

            def join(self, seconds):
                machine.now = min(until, machine.now + seconds)

            def kill(self):
                pass

        return Process()

    def task(self, name, **options):
        return Task(name, name, [], Path("log"), lambda: name in self.finished, **options)

    def run(self, place, seconds, tasks, places=1):
        until = self.now + seconds
        Deadline(place / "durations.json", until, self.start, lambda: self.now, self.sleep).run(tasks, places)


def test_what_does_not_fit_gives_way_to_what_does_and_is_begun_where_nothing_else_is_left(tmp_path):
    (tmp_path / "durations.json").write_text(json.dumps({"long": 500, "short": 50, "whole": 500}))
    machine = Machine(long=500, short=50, whole=500)
    machine.run(tmp_path, 200, [machine.task("long"), machine.task("whole", resumable=False), machine.task("short")])
    assert machine.begun == ["short", "long"]
    assert machine.cut == ["long"]
    assert json.loads((tmp_path / "durations.json").read_text())["short"] == pytest.approx(50, abs=1)


def test_called_again_it_goes_on_with_what_was_cut_and_repeats_nothing(tmp_path):
    machine = Machine(a=100, b=100, c=10)
    for _ in range(2):
        machine.run(tmp_path, 150, [machine.task(name) for name in "abc"])
    assert machine.begun == ["a", "b", "b", "c"]
    assert machine.cut == ["b"]


def test_nothing_begins_with_little_time_or_before_what_it_needs(tmp_path):
    machine, weights = Machine(a=100, b=10), tmp_path / "weights"
    machine.run(tmp_path, 200, [machine.task("b", needs=weights), machine.task("a")])
    weights.touch()
    machine.run(tmp_path, 29, [machine.task("b", needs=weights)])
    assert machine.begun == ["a"]
    machine.run(tmp_path, 31, [machine.task("b", needs=weights)])
    assert machine.begun == ["a", "b"]


def test_every_recipe_takes_a_step_and_those_that_have_are_not_asked_again(tmp_path):
    size = real(tmp_path, 10)
    names = [task.name for task in steps(size, tmp_path, {}) if task.ready]
    assert {name.split()[0] for name in names} == {recipe.stem for recipe in RECIPES}
    assert len(names) == len(RECIPES) + 2 * len(gpu_ten_minutes.EXACTLY)
    assert [task.name for task in steps(size, tmp_path, dict.fromkeys(names[1:])) if task.ready] == names[:1]


def test_students_of_one_step_are_measured_before_those_of_several_begin(tmp_path):
    names = [task.name for task in claim(real(tmp_path, 10), tmp_path)]
    assert names[:4] == ["fit resnet", "fit nfgsm", "fit nfgsm_ard", "fit nfgsm_rslad"]
    assert names.index("evaluate standard, 1000: resnet") < names.index("fit pgd_at_ema")
    assert names.index("evaluate standard, 1000: rslad") < names.index("fit ard")
    assert [task.name for task in claim(real(tmp_path, 10), tmp_path) if task.ready] == [
        "fit resnet",
        "fit nfgsm",
        "fit pgd_at_ema",
    ]


def test_a_record_that_says_more_is_not_measured_again(tmp_path):
    (task,) = [task for task in claim(real(tmp_path, 10), tmp_path) if task.name == "evaluate quick, 1000: nfgsm"]
    record = tmp_path / "nfgsm" / "evaluation.json"
    record.parent.mkdir()
    for suite, limit, done in (("quick", 20, False), ("quick", 1000, True), ("standard", 1000, True)):
        record.write_text(json.dumps({"suite": suite, "limit": limit}))
        assert task.done() is done


@pytest.mark.parametrize("size", [toy(2), real(Path("data"), 10)], ids=["toy", "real"])
def test_every_group_of_the_bench_exists(size, tmp_path):
    from ard.bench.levers import every_row

    assert set(size.groups) <= {row.group for row in every_row()}
    assert len({task.name for task in benches(size, tmp_path)}) == len(size.groups) * len(size.bench)


@pytest.mark.campaign
def test_a_rehearsal_leaves_nothing_undone_and_the_real_thing_asks_for_a_gpu(tmp_path):
    words = [str(ROOT / "scripts" / "gpu_ten_minutes.sh"), "none", str(tmp_path)]
    done = subprocess.run([*words, "1200", "--toy"], capture_output=True, text=True, check=False)
    assert (done.returncode, "left for the next call: nothing" in done.stdout) == (0, True), done.stdout + done.stderr
    assert (tmp_path / "records" / "claim" / "table.md").is_file()
    if not torch.cuda.is_available():
        refused = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
