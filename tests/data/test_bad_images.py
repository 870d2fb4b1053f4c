"""Images and labels that are not what they must be: refused in one line that names the first of them."""

import pytest
import torch
from small_runs import cli, digits, narrow, trained, write_weights
from tiny import user_error

from ard.__main__ import main
from ard.attacks import Linf
from ard.data import Digits
from ard.data.loading import MemoryImages
from ard.evaluation.evaluation import evaluate_images

WHERE = 700  # far behind the first batch


class Changed(Digits):
    """Digits after `change` (pixels, labels), as floats in [0, 1] where that is asked for."""

    floats = True

    def training_images(self):
        images = super().training_images()
        pixels = images.pixels.float() / 255 if self.floats else images.pixels.clone()
        return MemoryImages(*self.change(pixels, images.labels.clone()))


class Missing(Changed):
    def change(self, x, y):
        x[WHERE, 0, 3, 3] = torch.nan
        return x, y


class Infinite(Changed):
    def change(self, x, y):
        x[WHERE, 0, 3, 3] = torch.inf
        return x, y


class Negative(Changed):
    def change(self, x, y):
        return x, y.index_fill(0, torch.tensor([WHERE]), -1)


class TooLarge(Changed):
    def change(self, x, y):
        return x, y.index_fill(0, torch.tensor([WHERE]), 10)


class Fractions(Changed):
    def change(self, x, y):
        return x, y.float()


class Colour(Changed):
    floats = False

    def change(self, x, y):
        return x.expand(-1, 3, -1, -1), y


class Large(Changed):
    def change(self, x, y):
        return torch.nn.functional.pad(x, (0, 1, 0, 1)), y


class ChannelsLast(Changed):
    floats = False

    def change(self, x, y):
        return x.permute(0, 2, 3, 1), y


class Whole(Changed):
    def change(self, x, y):
        return (x * 255).long(), y


class Nothing(Changed):
    def change(self, x, y):
        return x[:0], y[:0]


@pytest.fixture
def refusal(command, tmp_path, capsys):
    """refusal(data): the line with which a whole epoch of training on it ends, before any checkpoint."""

    def run(data, *more):
        words = command(tmp_path / "run", "natural", f"--data=test_bad_images.{data}", "--data.init_args.batch_size=512")
        status = main([*words, "--trainer.limit_train_batches=1.0", "--trainer.limit_val_batches=1.0", *more])
        out, err = capsys.readouterr()
        assert (status, err.count("\n")) == (2, 1)
        assert "Traceback" not in out + err
        assert not list(tmp_path.rglob("*.ckpt"))
        return f"exit {status}: {err.removeprefix('ard: ')}"

    return run


@pytest.mark.fault(24)
@pytest.mark.parametrize(("data", "found"), [("Missing", "[nan, nan]"), ("Infinite", "[0, inf]")])
def test_a_pixel_that_is_no_number_names_its_image(data, found, refusal, observed):
    line = refusal(data)
    assert f"image {WHERE} (1 of" in line
    assert f"pixels in {found}; expected [0, 1]" in line
    observed(line)


LABELS, SHAPES = pytest.mark.fault(25), pytest.mark.fault(26)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param("Negative", f"image {WHERE} has the label -1 (1 of 1397 are wrong); expected 0 to 9", marks=LABELS),
        pytest.param("TooLarge", f"image {WHERE} has the label 10 (1 of 1397 are wrong); expected 0 to 9", marks=LABELS),
        pytest.param("Fractions", "labels of torch.float32 and shape (1397,); expected whole numbers", marks=LABELS),
        pytest.param("Colour", "images of (3, 8, 8); expected (1, 8, 8), channels first", marks=SHAPES),
        pytest.param("Large", "images of (1, 9, 9); expected (1, 8, 8), channels first", marks=SHAPES),
        pytest.param("ChannelsLast", "images of (8, 8, 1); expected (1, 8, 8), channels first", marks=SHAPES),
        pytest.param("Whole", "images of torch.int64; expected uint8, or floats in [0, 1]", marks=SHAPES),
    ],
)
def test_odd_labels_and_images_are_told_with_what_is_expected(data, found, refusal, observed):
    line = refusal(data)
    assert found in line
    observed(line)


@pytest.mark.fault(26)
def test_a_student_for_other_images_is_refused_before_training(refusal, tmp_path, observed):
    line = refusal("Missing", "--data=ard.data.Digits", "--model.init_args.student.init_args.in_channels=3")
    assert "the student cannot read images of shape (1, 8, 8), 2 at a time" in line
    assert not list(tmp_path.iterdir())
    observed(line)


@pytest.mark.fault(27)
def test_no_images_are_refused(refusal, observed):
    line = refusal("Nothing")
    assert "class 0 has 0 training images; expected 2 or more" in line
    observed(line)


@pytest.mark.fault(27)
def test_one_image_can_be_evaluated(place, capsys, observed):
    weights = write_weights(place / "student.safetensors")
    status, out, err = cli(capsys, "evaluate", weights, "--limit", 1)
    assert (status, err) == (3, "")  # with a warning: one image shows nobody above chance
    assert "warnings: O20" in out
    assert "n = 1" in out
    observed(f"exit {status}: one image is evaluated, with a warning")


@pytest.mark.fault(27)
def test_batches_of_one_train_unless_batchnorm_would_see_one_number(command, tmp_path, capsys, observed):
    alone = ["--data.init_args.batch_size=1", "--trainer.limit_train_batches=3"]
    assert main(command(tmp_path / "run", "natural", *alone)) == 0
    assert (tmp_path / "run" / "student.safetensors").exists()
    capsys.readouterr()
    deep = "--model.init_args.student.init_args.stages=[[1,16,1,8]]"
    assert main(command(tmp_path / "other", "natural", *alone, deep)) == 2
    line = capsys.readouterr().err
    assert "the student cannot read images of shape (1, 8, 8), 1 at a time: Expected more than 1 value per channel" in line
    assert not (tmp_path / "other").exists()
    observed(f"batches of one train; exit 2 where BatchNorm would see a single number: {line.removeprefix('ard: ')}")


def test_a_class_with_one_image_cannot_be_split():
    data = Digits()
    images = MemoryImages(torch.zeros(30, 1, 8, 8, dtype=torch.uint8), torch.arange(30).clamp_max(9))
    data.training_images = lambda: images
    with user_error("class 0 has 1 training images; expected 2 or more"):
        _ = data.splits


@pytest.mark.fault(24)
def test_evaluation_names_the_image_too(observed):
    x, y = digits(20)
    broken = x.clone()
    broken[7, 0, 0, 0] = torch.nan
    with user_error(r"image 7 \(1 of 20 are wrong\): pixels in \[nan, nan\]") as caught:
        evaluate_images(trained(), broken, y, Linf(eps=0.1))
    observed(f"evaluation: {caught.value}")


@pytest.mark.fault(25)
@pytest.mark.parametrize("label", [-1, 10])
def test_evaluation_refuses_labels_that_are_no_classes(label, observed):
    x, y = digits(20)
    wrong = y.index_fill(0, torch.tensor([7]), label)
    with user_error(f"image 7 has the label {label} ") as caught:
        evaluate_images(narrow(), x, wrong, Linf(eps=0.1))
    observed(f"evaluation: {caught.value}")
