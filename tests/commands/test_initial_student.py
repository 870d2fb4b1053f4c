"""The student before its training, as a run's own files give it back."""

import copy

import pytest
from pytorch_lightning import Callback
from small_runs import cli

from ard.artifacts.diagnosis import diagnosis_of, read_diagnosis
from ard.artifacts.paths import RunFolder, record_of
from ard.commands.initial_student import initial_student
from ard.commands.subject import Subject
from ard.core.same_bits import same_bits, tensors_of
from ard.evaluation.request import Request


class Watching(Callback):
    """Copies the student before its first step."""

    def on_train_start(self, trainer, pl_module):  # noqa: ARG002
        self.student = copy.deepcopy(pl_module.student)


@pytest.fixture(scope="module")
def trained(fit, tmp_path_factory):
    """A run's folder, and what the student was at its start."""
    folder, watching = tmp_path_factory.mktemp("run"), Watching()
    fit(folder, "pgd_at", "--seed_everything=5", callbacks=[watching])
    return RunFolder(folder), watching.student


def found(folder):
    return initial_student(Subject.of(folder.weights("last"), Request()))


def test_it_is_drawn_anew_bit_for_bit(trained):
    folder, student = trained
    assert same_bits(tensors_of(found(folder)), tensors_of(student))
    assert not same_bits(tensors_of(Subject.of(folder.weights("last"), Request()).model), tensors_of(student))


def test_it_is_not_known_of_a_run_that_began_with_weights(trained, fit, tmp_path):
    fit(tmp_path, "pgd_at", "--seed_everything=5", f"--model.init={trained[0].weights('last')}")
    assert found(RunFolder(tmp_path)) is None


def test_it_is_not_known_without_the_configuration_that_was_trained(trained, tmp_path):
    copied = RunFolder(tmp_path)
    copied.weights("last").write_bytes(trained[0].weights("last").read_bytes())
    assert found(copied) is None
    copied.config.write_text(trained[0].config.read_text().replace("seed_everything: 5", "seed_everything: 6"))
    assert found(copied) is None
    copied.config.write_text(trained[0].config.read_text())
    assert found(copied) is not None


def test_a_diagnosis_compares_with_it_and_knows_the_weight_decay(trained, capsys):
    weights = trained[0].weights("last")
    assert cli(capsys, "diagnose", weights, "--only", "gradient_norm,tangent_kernel", "--limit", "10")[0] == 0
    gradient, kernel = read_diagnosis(diagnosis_of(record_of(weights))).results
    assert gradient.settings == {"weight decay": 0.0005}
    assert kernel.values["drift from the start"] > 0
    assert kernel.settings == {"teacher": "not compared: none, or an ensemble, which has no weights of its own"}
