"""What a run refuses, each in one line and as early as it can be known."""

import pytest
import torch
from others import Plain
from pytorch_lightning import Callback, Trainer
from tiny import user_error

from ard import Distillation
from ard.artifacts.card import Card
from ard.artifacts.weights import save_weights
from ard.attacks import PGD, Linf
from ard.data import Digits


class Steps(Callback):
    """Counts what got as far as an optimiser step."""

    def __init__(self):
        self.count = 0

    def on_before_optimizer_step(self, *_):
        self.count += 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param("Bright", r"pixels in \[0, 255\]; expected \[0, 1\]", marks=pytest.mark.fault(23)),
        pytest.param("Standardised", r"pixels in \[-0.8.*\]; expected \[0, 1\]", marks=pytest.mark.fault(23)),
        ("Shifted", "image 19 has the label 10 .140 of 1397 are wrong.; expected 0 to 9"),
    ],
)
@pytest.mark.parametrize("recipe", ["pgd_at", "free_at"])
def test_wrong_pixels_and_labels_are_refused(fit, tmp_path, recipe, data, message, observed):
    options = [f"--data=broken_data.{data}", "--data.init_args.batch_size=512", "--trainer.max_epochs=8"]
    steps = Steps()
    with user_error(message) as caught:
        fit(tmp_path, recipe, *options, callbacks=[steps])
    observed(f"refused: {caught.value}")
    assert steps.count == 0
    assert not (tmp_path / "last.ckpt").exists()


def test_mixed_images_are_refused_before_training_where_a_method_wants_one_class(fit, tmp_path):
    steps = Steps()
    with user_error("MART wants one class for each image, and cutmix gives an image shares of two: leave cutmix out, or"):
        fit(tmp_path, "mart", "--data.init_args.cutmix=1.0", callbacks=[steps])
    assert steps.count == 0
    assert not (tmp_path / "last.ckpt").exists()


def test_a_method_that_was_named_asks_for_the_images_it_is_made_of():
    """In Python a name brings no data, and a run without its augmentation would be another method."""
    module = Distillation(student=Plain(), objective="pgd_at_cutmix", eps=0.1)
    trainer = Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False)
    with user_error(r"images with cutmix=1.0: expected a data module such as ard.data.CIFAR10\(cutmix=1.0\), or another"):
        trainer.fit(module, datamodule=Digits())


def test_a_student_may_begin_with_weights_for_other_classes(tmp_path):
    """All but the last layer, as in fine-tuning."""
    start = Plain(num_classes=7)
    save_weights(tmp_path / "w.safetensors", start, Card(num_classes=7))
    with pytest.warns(UserWarning, match="is for 7 classes, the data have 10: head.weight, head.bias begin anew"):
        student = Distillation(student=Plain(), objective="natural", init=str(tmp_path / "w.safetensors")).student
    assert torch.equal(student.conv.weight, start.conv.weight)
    assert student.head.out_features == 10


@pytest.mark.parametrize("name", ["attack", "val_attack"])
def test_an_attack_that_is_none_of_ours_is_refused(name):
    with user_error(f"^{name} makes a function: expected what makes an ard.attacks.Attack of the threat"):
        Distillation(student=Plain(), objective="pgd_at", **{name: lambda ball: lambda *_: ball})


@pytest.mark.fault(14)
def test_init_from_another_network_is_refused(fit, tmp_path, teacher_file, observed):
    with user_error(
        "is for ard.models.ResNet and does not fit ard.models.MobileNetV2: 2 of .*; missing: .*; unexpected: "
    ) as caught:
        fit(tmp_path / "run", "natural", f"--model.init_args.init={teacher_file}")
    observed(f"exit 2: {str(caught.value).replace(str(teacher_file), 'teacher.safetensors')}")


@pytest.mark.fault(16)
def test_a_teacher_that_does_not_fit_is_refused_before_anything_is_written(fit, tmp_path, teacher_of, observed):
    weights, seven = "--model.init_args.teacher.init_args.weights", teacher_of(7)
    with user_error("answers with .*7.*, data has 10 classes") as caught:
        fit(tmp_path / "run", "ard", f"{weights}={seven}")
    observed(f"exit 2, nothing written: {str(caught.value).replace(str(seven), 'teacher.safetensors')}")
    with user_error("gone.safetensors: no such file"):
        fit(tmp_path / "run", "ard", f"{weights}=gone.safetensors")
    with user_error("add --teacher FILE, in full --model.teacher.weights FILE"):
        fit(tmp_path / "run", "ard", f"{weights}=")
    assert [file.name for file in tmp_path.rglob("*")] == []


def test_a_missing_teacher_is_asked_for_by_its_own_option(fit, tmp_path):
    with user_error("add --model.objective.natural_teacher.weights FILE"):
        fit(tmp_path / "run", "mtard", "--model.objective.natural_teacher.weights=")
    with user_error("add --model.objective.base.natural_teacher.weights FILE"):
        fit(tmp_path / "run", "adaad_igdm", "--model.init_args.objective.init_args.base=ard.objectives.mtard.MTARD")


@pytest.mark.fault(34)
def test_an_attack_under_inference_mode_says_what_to_do(observed):
    """The engine leaves that mode for its own, see test_plain_modules.py."""
    with torch.inference_mode(), user_error("inference_mode=False") as caught:
        PGD(Linf(0.1))(lambda x_adv: x_adv.sum((1, 2, 3)), torch.rand(2, 1, 4, 4), torch.Generator())
    observed(f"exit 2: ard: {caught.value}")
