"""What an evaluation leaves to be looked at: it says what the record says, and shows broken and unbroken images alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_runs import cli, digits, trained, write_weights

from ard.artifacts.adversarial import read_adversarial
from ard.artifacts.paths import RecordFiles
from ard.artifacts.record_file import read_record
from ard.artifacts.shown import read_shown, write_shown
from ard.attacks import Linf
from ard.evaluation.evaluation import Evaluation
from ard.evaluation.gallery import chosen, gallery_of

pytestmark = pytest.mark.usefixtures("short_attacks")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The files beside a record of 150 images: a block and a half."""
    from ard.__main__ import main

    weights = write_weights(tmp_path_factory.mktemp("shown") / "student.safetensors")
    assert main(["evaluate", str(weights), "--limit=150", "--save-adversarial"]) == 0
    return RecordFiles(weights.with_name("evaluation.json"))


def test_every_file_beside_a_record_is_named(evaluated):
    named = {name for name, part in vars(RecordFiles).items() if isinstance(part, property)}
    left = {path.name for path in evaluated.record.parent.iterdir()} - {"student.safetensors"}
    elsewhere = {"curve", "adversarial_pngs", "model_card"}  # of suite full, of images of 8 bits, of `ard report`
    assert left == {getattr(evaluated, name).name for name in named - elsewhere} | {"evaluation.json"}


def test_the_tables_are_those_of_the_stored_images_and_of_the_record(evaluated):
    """Counted one by one from the adversarial images that were kept, by a network that was read anew."""
    record, shown, kept = (
        read_record(evaluated.record),
        read_shown(evaluated.shown),
        read_adversarial(evaluated.adversarial),
    )
    expected = np.zeros((10, 10), int)
    with torch.no_grad():
        for truth, answer in zip(kept.y.tolist(), trained()(kept.x_adv).argmax(1).tolist(), strict=True):
            expected[truth, answer] += 1
    assert np.array_equal(shown.confusion_attacked, expected)
    assert expected.trace() == record.worst.sum()
    assert shown.confusion_clean.trace() == record.clean.sum()
    assert shown.confusion_clean.sum() == shown.confusion_attacked.sum() == record.n == 150
    rows = [row.n for row in record.per_class]
    assert shown.confusion_clean.sum(axis=1).tolist() == shown.confusion_attacked.sum(axis=1).tolist() == rows
    right = [round(row.n * row.clean_acc) for row in record.per_class]
    assert shown.confusion_clean.diagonal().tolist() == right


def test_the_images_are_those_that_were_attacked_inside_the_ball(evaluated):
    record, shown, kept = (
        read_record(evaluated.record),
        read_shown(evaluated.shown),
        read_adversarial(evaluated.adversarial),
    )
    assert shown.is_of(record)
    assert np.abs(shown.perturbation).max() <= record.threat.eps * (1 + 1e-5)
    assert np.abs(shown.attacked - kept.x_adv.numpy()[shown.index]).max() <= record.threat.eps / 127 + 0.5 / 255
    assert np.array_equal(shown.y, kept.y.numpy()[shown.index])
    broken = (shown.attacked_probabilities.argmax(1) != shown.y).sum()
    assert len(shown.index) == 24
    assert broken == 12
    assert (shown.clean_probabilities.argmax(1) == shown.y).all()
    assert np.allclose(shown.clean_probabilities.sum(1), 1, atol=1e-5)
    assert set(shown.y) == set(range(10))


def test_what_an_earlier_evaluation_left_is_not_of_a_later_record(evaluated):
    record, shown = read_record(evaluated.record), read_shown(evaluated.shown)
    assert not shown.is_of(replace(record, weights=replace(record.weights, sha256="0" * 64)))
    assert not shown.is_of(replace(record, dataset=replace(record.dataset, digest="0" * 16)))
    assert not shown.is_of(replace(record, key="another"))
    assert not shown.is_of(replace(record, n=149))


def test_with_images_of_8_bits_it_shows_those_and_nothing_of_an_earlier_evaluation_stays(tmp_path, capsys):
    write_weights(tmp_path / "student.safetensors")
    earlier = [RecordFiles(tmp_path / "evaluation.json").model_card, RecordFiles(tmp_path / "evaluation.json").curve]
    for path in earlier:
        path.write_text("of an earlier evaluation")
    assert cli(capsys, "evaluate", tmp_path, "--limit", 20, "--eight-bit")[0] == 0
    shown = read_shown(tmp_path / "evaluation.shown.safetensors")
    assert np.abs(shown.perturbation).max() == pytest.approx(25 / 255, abs=1e-6)  # the level below 0.1
    assert not any(path.exists() for path in earlier)


def test_a_network_that_answers_with_no_number_has_a_file_like_any_other(tmp_path):
    """NaN, as a broken network answers: no probability is shown."""

    class Broken(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = trained()

        def forward(self, x):
            return self.network(x) + torch.where(x[:, :, 0, 3].sum(1, keepdim=True) > 0.2, torch.nan, 0.0)

    evaluation = Evaluation(Broken(), *digits(20), Linf(eps=0.1))
    evaluation.judge()
    record = evaluation.record()
    shown = gallery_of(evaluation, record)
    assert record.verdict == "unreliable"
    assert set(np.unique(shown.clean_probabilities.sum(1).round(3))) <= {0, 1}
    write_shown(tmp_path / "shown", shown)
    assert np.array_equal(read_shown(tmp_path / "shown").index, shown.index)


Y = np.arange(60) % 10
CASES = {  # broken images, unbroken images -> how many of each are shown
    "many of both": (20, 30, 12, 12),
    "few broken": (3, 50, 3, 21),
    "few unbroken": (50, 3, 21, 3),
    "few of both": (4, 5, 4, 5),
    "none": (0, 0, 0, 0),
    "natural": (60, 0, 24, 0),
}


@pytest.mark.parametrize(("broken", "unbroken", "shown", "unshown"), CASES.values(), ids=CASES)
def test_half_are_broken_as_far_as_there_are_so_many(broken, unbroken, shown, unshown):
    clean = np.arange(60) < broken + unbroken
    worst = clean & (np.arange(60) >= broken)
    index = chosen(Y, clean, worst)
    assert (clean[index] & ~worst[index]).sum() == shown
    assert worst[index].sum() == unshown
    assert clean[index].all()
    assert (np.diff(index) > 0).all()


def test_every_class_is_shown_before_any_is_shown_twice():
    everything = np.ones(60, bool)
    assert np.bincount(Y[chosen(Y, everything, everything)]).tolist() == [3, 3, 3, 3] + [2] * 6
    assert chosen(Y, everything, everything, 10).tolist() == list(range(10))


def test_more_classes_than_room_are_taken_at_equal_distances():
    y = np.repeat(np.arange(100), 5)  # in the order of the classes, as folders of images are
    everything = np.ones(500, bool)
    index = chosen(y, everything, ~everything, 12)
    assert y[index].tolist() == [0, 9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 99]
