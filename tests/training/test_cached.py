"""A teacher that remembers says what a teacher says, and asks its network about every view of every image once."""

import os

import pytest
import torch
from pytorch_lightning import Callback
from tiny import generator, user_error

from ard.artifacts.metrics import read_metrics
from ard.data import Digits
from ard.models import Cached, Frozen, load
from ard.training.callbacks.teacher_accuracy import TEACHER_IMAGES

CACHED = "--model.init_args.teacher.class_path=ard.models.Cached"
EXACT = "--trainer.precision=32-true"


class Asked(Callback):
    """Counts the training images about which the network itself was asked."""

    def __init__(self):
        self.images = 0

    def on_train_start(self, trainer, engine):
        def count(_, inputs):
            self.images += len(inputs[0]) if trainer.training else 0

        engine.teacher._held[0].register_forward_pre_hook(count)


@pytest.fixture
def teacher(teacher_file, tmp_path):
    file = tmp_path / "teacher.safetensors"
    file.write_bytes(teacher_file.read_bytes())
    return file


def run(fit, directory, teacher, *more, recipe="rslad", epochs=2):
    asked = Asked()
    words = [f"--model.init_args.teacher.init_args.weights={teacher}", EXACT, f"--trainer.max_epochs={epochs}"]
    engine = fit(directory, recipe, *words, *more, callbacks=[asked]).model
    return engine, asked.images


def test_a_view_is_what_augment_shows():
    data = Digits()
    assert (data.view_count, data.views(3, generator()).tolist()) == (1, [0, 0, 0])
    data.crop_padding, data.flip = 2, True
    x = torch.rand(64, 1, 8, 8, generator=generator())
    views = data.views(64, generator(1))
    assert (data.view_count, views.max() < 50, views.min() >= 0) == (50, True, True)
    first = torch.cat([x[:1]] * 64)
    shown = data.augment(first, generator(1)).flatten(1)
    same_view = views[:, None] == views[None]
    assert torch.equal((shown[:, None] == shown[None]).all(dim=2), same_view)


@pytest.mark.parametrize("recipe", ["ard", "rslad", "kd"])
def test_training_is_the_same_up_to_float16(fit, tmp_path, teacher, recipe):
    plain, _ = run(fit, tmp_path / "plain", teacher, recipe=recipe)
    cached, _ = run(fit, tmp_path / "cached", teacher, CACHED, recipe=recipe)
    rows = [read_metrics(tmp_path / name / "metrics.csv")[0] for name in ("plain", "cached")]
    terms = [name for name in rows[0] if name.startswith("train/kl")]
    assert terms
    assert [float(rows[1][name]) for name in terms] == pytest.approx([float(rows[0][name]) for name in terms], rel=2e-3)
    assert isinstance(cached.teacher, Cached)
    assert type(plain.teacher) is Frozen


def test_every_view_is_asked_about_once(fit, tmp_path, teacher):
    still = ["--trainer.limit_train_batches=1.0", "--model.init_args.attack.init_args.steps=1"]
    still += ["--data.init_args.val_size=1300"]  # three steps an epoch
    engine, first = run(fit, tmp_path / "first", teacher, CACHED, *still, epochs=3)
    images = len(engine.data.splits[0])
    first -= TEACHER_IMAGES  # asked whether the teacher knows such images at all
    assert images - 32 < first - 32 <= images  # 32: of the first batch it knows, some are asked again, to trust the table
    _, second = run(fit, tmp_path / "second", teacher, CACHED, *still, "--seed_everything=1", epochs=3)
    assert second - TEACHER_IMAGES <= 32 + images - first % 32


def test_images_that_were_replaced_have_a_table_of_their_own(fit, tmp_path, teacher, monkeypatch):
    """Labels and counts are as before, and the first batch may hold none of them."""
    run(fit, tmp_path / "first", teacher, CACHED, epochs=1)
    run(fit, tmp_path / "again", teacher, CACHED, epochs=1)
    assert len(list(teacher.parent.glob("*.logits"))) == 1
    images = Digits().training_images()
    place = Digits().splits[0].indices[-1]
    images.pixels[place] = 255 - images.pixels[place]
    monkeypatch.setattr(Digits, "training_images", lambda self: images)  # noqa: ARG005
    run(fit, tmp_path / "replaced", teacher, CACHED, epochs=1)
    assert len(list(teacher.parent.glob("*.logits"))) == 2


def test_what_it_says_of_a_known_image_is_what_the_network_says(teacher):
    network, cached = load(teacher), opened(teacher)
    x, indices, views = torch.rand(5, 1, 8, 8, generator=generator()), torch.arange(5), torch.tensor([0, 1, 2, 3, 0])
    for _ in range(2):
        cached.expect(x, indices, views)
        torch.testing.assert_close(cached(x), network(x).detach(), rtol=1e-3, atol=1e-2)
    again = opened(teacher)
    again._held[0] = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    again.expect(x, indices, views)
    with user_error("delete"):
        again(x)


@pytest.mark.fault(67)
def test_a_damaged_row_is_computed_anew(teacher, observed):
    """Whichever byte of the table changes."""
    x, indices, views = torch.rand(5, 1, 8, 8, generator=generator()), torch.arange(5), torch.tensor([0, 1, 2, 3, 0])

    def answers():
        cached = opened(teacher)
        cached.expect(x, indices, views)
        return cached(x)

    first = answers()
    (file,) = teacher.parent.glob("*.logits")
    whole = file.read_bytes()
    written = [position for position, byte in enumerate(whole) if byte]
    damages = [whole[:position] + bytes([whole[position] ^ 64]) + whole[position + 1 :] for position in written[::7]]
    damages.append(whole[:1] + bytes([whole[1] ^ 128, whole[2], whole[3] ^ 128]) + whole[4:])  # two signs
    row, second = 24, 5 * 24  # bytes; where the row of image 1 in view 1 begins
    damages.append(whole[:second] + whole[:row] + whole[second + row :])  # a whole row in another's place
    for damaged in damages:
        file.write_bytes(damaged)
        torch.testing.assert_close(answers(), first, rtol=1e-3, atol=1e-2)
        assert file.read_bytes() == whole
    file.write_bytes(whole[: len(whole) // 2])
    assert torch.equal(answers(), first)
    observed(
        f"{len(written[::7])} of {len(written[::7])} flipped bits, and half a file: the same logits, the file as before"
    )


def test_what_is_no_file_is_not_read(teacher):
    opened(teacher)
    (file,) = teacher.parent.glob("*.logits")
    file.unlink()
    os.mkfifo(file)
    with user_error("no regular file"):
        opened(teacher)
    file.unlink()
    file.symlink_to(other := teacher.parent / "of another")
    with user_error("no regular file"):
        opened(teacher)
    assert not other.exists()


def test_images_it_was_not_told_about_go_to_the_network_with_their_gradient(teacher):
    cached = opened(teacher)
    x = torch.rand(2, 1, 8, 8, generator=generator())
    cached.expect(x, torch.arange(2), torch.zeros(2, dtype=torch.long))
    x_adv = x.clone().requires_grad_()
    logits = cached(x_adv)
    torch.testing.assert_close(logits, load(teacher)(x), rtol=1e-5, atol=1e-6)
    assert torch.autograd.grad(logits.sum(), x_adv)[0].abs().max() > 0


def test_other_data_or_another_teacher_have_a_table_of_their_own(teacher):
    opened(teacher)
    opened(teacher)
    assert len(list(teacher.parent.glob("*.logits"))) == 1
    opened(teacher, about="other pixels")
    opened(teacher, labels=torch.ones(5, dtype=torch.long))
    assert len(list(teacher.parent.glob("*.logits"))) == 3


def test_a_folder_that_is_not_ones_own_is_one_line(teacher, monkeypatch):
    denied = torch.from_file

    def from_file(path, **options):
        return denied(f"/nowhere{path}", **options)

    monkeypatch.setattr(torch, "from_file", from_file)
    with user_error("logits cannot be written .*No such file.*: use ard.models.Frozen, or a folder of your own"):
        opened(teacher)


def test_no_room_is_one_line(teacher, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with user_error("MB are free"):
        opened(teacher)


def opened(teacher, *, labels=None, about="digits"):
    labels = torch.zeros(5, dtype=torch.long) if labels is None else labels
    cached = Cached(weights=str(teacher)).load(num_classes=10, input_shape=(1, 8, 8))
    return cached.remember(labels=labels, views=4, num_classes=10, about=about)
