"""Training on a data set and others beside it: what a batch holds, who may see images without labels, what is refused."""

import numpy as np
import pytest
import torch
import yaml
from image_files import image_folder
from tiny import user_error

from ard.artifacts.weights import read_weights
from ard.data import Digits, KnownLabels, Mixed, Photos
from ard.data.loading import Order

COUNT = 300


def archive(path, *, labels=True, save=np.savez, shape=(COUNT, 8, 8, 1), dtype=np.uint8, unknown=0):
    """Of which the last `unknown` have no label."""
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    known = np.where(np.arange(len(pixels)) < len(pixels) - unknown, np.arange(len(pixels)) % 10, -1)
    save(path, image=pixels, **({"label": known} if labels else {}))
    return pixels


@pytest.fixture
def mixed(tmp_path):
    """mixed(**archive's): the data module and the pixels of the others."""

    def make(fraction=0.25, **options):
        pixels = archive(tmp_path / "others.npz", **options)
        return Mixed(base=Digits(batch_size=40), others=str(tmp_path / "others.npz"), fraction=fraction), pixels

    return make


def test_a_batch_holds_the_fraction_and_an_epoch_every_image_of_the_base_once(mixed):
    data, pixels = mixed()
    known = {image.tobytes() for image in data.splits[0].__getitems__(list(range(len(data.splits[0]))))[0].numpy()}
    others = {image.transpose(2, 0, 1).tobytes() for image in pixels}
    seen = []
    for images, labels in data.train_dataloader():
        kinds = [image.tobytes() in others for image in images.numpy()]
        assert (len(labels), sum(kinds)) == (40, 10)
        seen += [image.tobytes() for image, other in zip(images.numpy(), kinds, strict=True) if not other]
    assert len(seen) == len(data.splits[0]) // 30 * 30
    assert set(seen) <= known


def test_validation_and_test_are_the_bases(mixed):
    data, _ = mixed()
    base = Digits(batch_size=40)
    assert torch.equal(data.splits[1].labels, base.splits[1].labels)
    assert torch.equal(data.test_images().pixels, base.test_images().pixels)
    assert (data.title, data.num_classes) == (base.title, 10)


@pytest.mark.parametrize("named", [0, 1, 7])
def test_what_is_counted_is_what_an_epoch_trains_on(tmp_path, named):
    """Class 0 has `named` of ten images in the file, class 1 the rest but two that nobody labelled; over many epochs."""
    labels = np.array([0] * named + [1] * (8 - named) + [-1, -1])
    np.savez(tmp_path / "others.npz", image=np.zeros((10, 8, 8, 1), np.uint8), label=labels)
    data = Mixed(base=Digits(batch_size=40), others=str(tmp_path / "others.npz"), fraction=0.4)
    order, all_labels = data.train_dataloader().order, np.r_[data.splits[0].labels.numpy(), labels]
    seen, epochs = np.zeros(10), 30
    for epoch in range(epochs):
        order.epoch = lambda epoch=epoch: epoch
        shown = np.concatenate(order.batches())
        assert shown.max() < data.image_count == len(all_labels)
        seen += np.bincount(all_labels[shown][all_labels[shown] >= 0], minlength=10) / epochs
    trained = len(order) * 24 / len(data.splits[0])  # the last images of an epoch's order make no batch
    np.testing.assert_allclose(np.array(data.class_counts) * trained, seen, rtol=0.03)
    assert data.class_counts[2:] == data.base.class_counts[2:]
    assert sum(data.class_counts) == pytest.approx(len(data.splits[0]) * (1 + 0.8 * 16 / 24))


def test_ranks_share_a_batch_and_epochs_draw_others_anew():
    def order(rank, world, epoch=0):
        return Order(100, 20, lambda: epoch, 0, rank, world, others=50, fraction=0.5).batches()

    whole, halves = order(0, 1), [order(rank, 2) for rank in range(2)]
    assert [sorted(batch) for batch in whole] == [sorted(a + b) for a, b in zip(*halves, strict=True)]
    assert all(sum(index >= 100 for index in batch) == 10 for batch in whole)
    assert sorted(index for batch in whole for index in batch if index < 100) == list(range(100))
    assert {i for b in whole for i in b if i >= 100} != {i for b in order(0, 1, epoch=1) for i in b if i >= 100}
    plain = Order(100, 20, lambda: 0, 0, 0, 1).batches()
    assert [index for batch in plain for index in batch] == [index for batch in whole for index in batch if index < 100]


@pytest.mark.parametrize(("recipe", "labels"), [("rslad", False), ("adaad_igdm", False), ("pgd_at", True)])
def test_a_student_trains_on_both(fit, tmp_path, recipe, labels):
    archive(tmp_path / "others.npz", labels=labels)
    section = {"class_path": "ard.data.Mixed", "init_args": {"base": {"class_path": "ard.data.Digits"}}}
    section["init_args"] |= {"others": str(tmp_path / "others.npz"), "fraction": 0.5}
    section["init_args"]["base"]["init_args"] = {"batch_size": 32}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"data": section}))
    fit(tmp_path / "run", recipe, base=tmp_path / "data.yaml")
    card = read_weights(tmp_path / "run" / "student.safetensors")[1]
    assert card.additional_data is True
    assert card.data["class_path"] == "ard.data.Mixed"


@pytest.mark.parametrize("unknown", [COUNT, 1])
def test_images_without_labels_need_a_method_without(unknown, fit, tmp_path):
    """Also where there is one such image among many, which the first batch does not show."""
    archive(tmp_path / "others.npz", unknown=unknown)
    section = {
        "base": {"class_path": "ard.data.Digits", "init_args": {"batch_size": 32}},
        "others": str(tmp_path / "others.npz"),
    }
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"data": {"class_path": "ard.data.Mixed", "init_args": section}}))
    with user_error("without labels"):
        fit(tmp_path / "run", "pgd_at", base=tmp_path / "data.yaml")


def test_a_process_may_need_no_image_of_one_source(mixed):
    """Of a batch of 40 one image is of the others, and goes to one of two processes."""
    data, _ = mixed(fraction=0.03)
    loader = data.train_dataloader()
    images = loader.dataset
    assert [len(images.__getitems__(places)[1]) for places in ([0, 1], [len(images) - 1], [0, len(images) - 1])] == [2, 1, 2]


def test_a_share_of_no_image_is_refused(mixed):
    with user_error("fraction = 0.003 of a batch of 40 is no image"):
        mixed(fraction=0.003)


def test_images_mixed_into_mixed_ones_are_refused(tmp_path):
    """The inner ones would not be shown, and be counted."""
    archive(tmp_path / "others.npz")
    inner = Mixed(base=Digits(), others=str(tmp_path / "others.npz"))
    with user_error("Mixed around a data set with additional images: expected one file of them all"):
        Mixed(base=inner, others=str(tmp_path / "others.npz"))


@pytest.mark.parametrize("known", [False, True])
def test_photographs_are_augmented_as_alone(known, tmp_path):
    """What is drawn for them is of the base alone, whatever is around it."""
    base = Photos(root=str(image_folder(tmp_path / "photos")), size=16)
    inner = KnownLabels(base=base) if known else base
    archive(tmp_path / "others.npz", shape=(COUNT, 16, 16, 3))
    data, x = Mixed(base=inner, others=str(tmp_path / "others.npz")), torch.rand(4, 3, 16, 16)
    alone, around = (one.augment(x, torch.Generator().manual_seed(3)) for one in (base, data))
    assert torch.equal(alone, around)
    assert not torch.equal(alone, x)
    with user_error("rotation: .* augments in its own way"):
        Mixed(base=inner, others=str(tmp_path / "others.npz"), rotation=10)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"save": np.savez_compressed}, "compressed"),
        ({"shape": (COUNT, 8, 8)}, r"expected uint8 images \(n, height"),
        ({"dtype": np.float32}, "float32"),
        ({"shape": (COUNT, 9, 9, 1)}, r"expected \(1, 8, 8\)"),
    ],
)
def test_a_file_that_does_not_do_is_one_line(mixed, options, told):
    data, _ = mixed(**options)
    with user_error(told):
        data.train_dataloader()


def test_no_file_no_fraction(tmp_path):
    with user_error("no such file"):
        Mixed(base=Digits(), others=str(tmp_path / "none.npz")).train_dataloader()
    (tmp_path / "page.npz").write_text("<html>")
    with user_error("expected an .npz"):
        Mixed(base=Digits(), others=str(tmp_path / "page.npz")).train_dataloader()
    for fraction in (0.0, 1.0):
        with user_error("between 0 and 1"):
            Mixed(base=Digits(), others="", fraction=fraction)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({"label": np.arange(COUNT) / 7}, "labels float64"),
        ({"label": np.full(COUNT, np.nan)}, "labels float64"),
        ({"label": np.arange(COUNT - 1) % 10}, r"labels int64 \(299,\) of 300 images"),
        ({"label": np.int64(3)}, r"labels int64 \(\)"),
        ({"label": np.full(COUNT, 10)}, "image 0 has the label 10"),
        ({"label": np.r_[np.zeros(COUNT - 1, int), -2]}, "image 299 has the label -2"),
        ({"label": np.full(COUNT, 2**63, np.uint64)}, "has the label"),
        ({"image": np.zeros((0, 8, 8, 1), np.uint8)}, "others.npz"),
        ({"image": np.asfortranarray(np.zeros((COUNT, 8, 8, 1), np.uint8))}, "column-major"),
        ({"pixels": np.zeros((COUNT, 8, 8, 1), np.uint8)}, r"image\.npy"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_arrays_that_do_not_fit_are_one_line(others, told, tmp_path):
    arrays = {"image": np.zeros((COUNT, 8, 8, 1), np.uint8)} if "pixels" not in others else {}
    np.savez(tmp_path / "others.npz", **arrays | others)
    with user_error(told):
        Mixed(base=Digits(batch_size=40), others=str(tmp_path / "others.npz")).train_dataloader()


@pytest.mark.parametrize("name", ["image", "label"])
def test_a_pickle_inside_an_archive_does_not_run(name, tmp_path):
    hostile = np.array([Touch(str(tmp_path / "ran"))] * COUNT, dtype=object)
    np.savez(tmp_path / "others.npz", **{"image": np.zeros((COUNT, 8, 8, 1), np.uint8), name: hostile})
    with user_error("expected plain numbers"):
        Mixed(base=Digits(batch_size=40), others=str(tmp_path / "others.npz")).train_dataloader()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("shape", ["(900, 8, 8, 1)", "(300, 8, 9, 1)", "(-30, 8, 8, 1)", "(9**99,8,8,1)", "(300, 8, 8, 1"])
def test_a_header_that_lies_is_one_line(shape, tmp_path):
    archive(tmp_path / "others.npz")
    content = (tmp_path / "others.npz").read_bytes()
    assert b"(300, 8, 8, 1)" in content
    (tmp_path / "others.npz").write_bytes(content.replace(b"(300, 8, 8, 1)", shape.encode().ljust(14)[:14]))
    with user_error(r"others\.npz"):
        Mixed(base=Digits(batch_size=40), others=str(tmp_path / "others.npz")).train_dataloader()


def test_a_flipped_bit_among_the_pixels_is_found(tmp_path):
    archive(tmp_path / "others.npz")
    content = bytearray((tmp_path / "others.npz").read_bytes())
    content[5000] ^= 1
    (tmp_path / "others.npz").write_bytes(content)
    with user_error(r"others\.npz: BadZipFile: Bad CRC-32"):
        Mixed(base=Digits(batch_size=40), others=str(tmp_path / "others.npz")).train_dataloader()
