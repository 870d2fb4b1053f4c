"""Own photographs: folders are split by what the files hold, and crops depend on seed, epoch and image alone."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from image_files import image_folder
from tiny import generator, user_error

from ard.core.class_folders import check_images
from ard.core.content_digests import PART, content_digest
from ard.data import ImageFolder, Photos
from ard.models import Torchvision


@pytest.fixture
def folder(tmp_path):
    """Class folders and nothing else, 20 images each."""
    image_folder(tmp_path / "made", per_class=20)
    (tmp_path / "made" / "train").rename(tmp_path / "photos")
    return tmp_path / "photos"


def photos(root, **options):
    return Photos(**{"root": str(root), "size": 16, "batch_size": 4, **options})


def of_the_test(data):
    return {file for files in data._folders("test").files.values() for file in files}


def digests(paths):
    return {content_digest(str(path)) for path in paths}


def test_an_ordinary_folder_is_split_into_three(folder):
    data = photos(folder)
    train, val = data.splits
    assert (data.classes, len(train), len(val), len(data.test_images())) == (("cat", "dog", "owl"), 42, 7, 11)
    assert torch.bincount(data.test_images().labels).min() >= 1
    assert not of_the_test(data) & {file for files in data.train_files.values() for file in files}


def test_the_test_images_are_chosen_by_what_they_hold_and_stay(folder, tmp_path):
    before = of_the_test(photos(folder))
    assert of_the_test(photos(folder, size=8, seed=5)) == before != of_the_test(photos(folder, split_seed=1))
    before = digests(before)
    shutil.copytree(folder, tmp_path / "moved")
    for place, file in enumerate(sorted((tmp_path / "moved").glob("*/*"))):
        file.rename(file.with_name(f"é{(7 * place) % 60}.png"))
    data = photos(tmp_path / "moved")
    assert digests(of_the_test(data)) == before
    assert [digests([path]) for path in data.image_files.training] == [
        digests([path]) for path in photos(folder).image_files.training
    ]  # and so are those for validation, and their order


def test_added_and_deleted_photographs_move_no_other(folder, tmp_path):
    before = digests(of_the_test(photos(folder)))
    image_folder(tmp_path / "more", per_class=40)
    for file in sorted((tmp_path / "more" / "train").glob("*/*")):
        shutil.copy(file, folder / file.parent.name / f"later{file.name}")
    assert digests(of_the_test(photos(folder))) & digests(folder.glob("*/?.png")) <= before
    for file in sorted(folder.glob("*/*"))[::3]:
        file.unlink()
    assert digests(of_the_test(photos(folder))) & before == digests(folder.glob("*/*")) & before


def test_exact_copies_lie_on_one_side(folder):
    for file in sorted(folder.glob("*/*")):
        shutil.copy(file, folder / "owl" / f"copy-of-{file.parent.name}-{file.name}")
    data = photos(folder)
    assert not digests(data.image_files.test) & set(data.image_files.learned)


def test_the_shares_of_a_large_folder_are_nearly_those_that_were_asked_for(folder, monkeypatch):
    files = [str(folder / f"{i}.png") for i in range(4000)]
    data = photos(folder)
    monkeypatch.setattr(data.digests, "_known", {file: f"{i:012x}" for i, file in enumerate(files)})
    train, test = data._parted(files)
    assert (len(train) + len(test), abs(len(test) / 4000 - 0.15) < 0.02) == (4000, True)


def test_a_file_is_told_by_its_size_beginning_and_middle(tmp_path):
    dark = bytes(3 * PART)
    contents = {"a": dark, "copy": dark, "longer": dark + b"0", "middle": dark[:PART] + b"1" * PART + dark[:PART]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    found = {name: content_digest(str(tmp_path / name)) for name in contents}
    assert found["a"] == found["copy"]
    assert len(set(found.values())) == 3
    with user_error("none: not a readable image .No such file or directory.; replace or delete it"):
        content_digest(str(tmp_path / "none"))


def test_copies_in_train_and_test_are_told_before_training(tmp_path, capsys):
    image_folder(tmp_path)
    shutil.copy(tmp_path / "train" / "cat" / "0.png", tmp_path / "test" / "owl" / "other.png")
    _ = photos(tmp_path).splits
    told = "1 of the 13 test images are among the training images, too (test/owl/other.png): delete one of each"
    assert told in capsys.readouterr().out


SPELLINGS = ["Train Test", "training testing", "TRAIN val", "test validation", "train Test", "test val"]


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("names", SPELLINGS)
def test_splits_in_another_spelling_are_no_classes(tmp_path, names, beside):
    names = names.split()
    image_folder(tmp_path)
    if beside:
        shutil.copytree(tmp_path / "test" / "cat", tmp_path / "docs")
    for old, new in zip(("train", "test"), names, strict=True):
        (tmp_path / old).rename(tmp_path / f"{new}-")
    for new in names:
        (tmp_path / f"{new}-").rename(tmp_path / new)
    told = f"holds {', '.join(sorted(names))}; expected train/ and test/ .lower case., or a folder a class: rename them"
    for asked in (lambda: photos(tmp_path), lambda: ImageFolder(root=str(tmp_path), size=8), lambda: check_images(tmp_path)):
        with user_error(told):
            asked()


def test_a_class_may_be_called_test(folder):
    (folder / "cat").rename(folder / "test")
    assert photos(folder).classes == ("dog", "owl", "test")


def test_images_of_validation_beside_train_are_no_other_spelling_of_it(tmp_path):
    (image_folder(tmp_path) / "test").rename(tmp_path / "validation")
    assert ImageFolder(root=str(tmp_path), size=8).classes == ("cat", "dog", "owl")


def test_a_folder_with_train_and_test_is_taken_as_it_is(tmp_path):
    data = photos(image_folder(tmp_path))
    assert (len(data.test_images()), sum(map(len, data.splits))) == (12, 24)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_size": 0}, "val_size = 0: expected a share of the images, between 0 and 1"),
        ({"test_size": 300.0}, "test_size = 300: expected a share"),
    ],
)
def test_sizes_are_shares(folder, options, message):
    with user_error(message):
        photos(folder, **options)


def test_of_a_rare_class_is_one_to_train_on_one_to_validate_on_and_one_to_test_on(folder):
    for file in sorted((folder / "owl").iterdir())[3:]:
        file.unlink()
    for share in (0.01, 0.15, 0.5, 0.99):
        data = photos(folder, val_size=share)
        for images in (*data.splits, data.test_images()):
            assert torch.bincount(images.labels)[2] == 1
            assert torch.bincount(images.labels).min() == 1


def test_two_images_of_a_class_are_too_few(folder):
    for file in sorted((folder / "owl").iterdir())[2:]:
        file.unlink()
    with user_error("owl holds 2 images; expected 3 or more"):
        photos(folder)


def shown(data, epoch, batch_idx, x, indices):
    """What `augment` makes of a batch in a trainer."""
    batches = [None] * batch_idx + [indices]
    loader = SimpleNamespace(order=SimpleNamespace(batches=lambda: batches))
    data.trainer, data._shown = SimpleNamespace(current_epoch=epoch, train_dataloader=loader), (-1, [])
    data.received((x, None), batch_idx)
    return data.augment(x, generator(epoch))


@pytest.mark.parametrize("augmentation", ["crop", "trivial"])
def test_what_is_shown_depends_on_seed_epoch_and_image(folder, augmentation, monkeypatch):
    monkeypatch.setattr("torch.cuda.manual_seed_all", lambda _: pytest.fail("only the CPU's random state is put back"))
    data, x = (
        photos(folder, augmentation=augmentation),
        torch.rand(1, 3, 16, 16, generator=generator()).expand(4, -1, -1, -1),
    )
    before = torch.get_rng_state()
    first = shown(data, 0, 2, x, [5, 9, 11, 30])
    assert torch.equal(torch.get_rng_state(), before)
    assert (first.shape, float(first.min()) >= 0, float(first.max()) <= 1) == (x.shape, True, True)
    again = shown(data, 0, 0, x, [30, 5, 9, 11])  # in another place of another batch
    assert torch.equal(again, first[[3, 0, 1, 2]])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(shown(data, 1, 2, x, [5, 9, 11, 30]), first)
    assert not torch.equal(shown(photos(folder, seed=1, augmentation=augmentation), 0, 2, x, [5, 9, 11, 30]), first)


def test_without_augmentation_images_stay(folder):
    x = torch.rand(2, 3, 16, 16)
    assert photos(folder, augmentation="none").augment(x, generator()) is x


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """Where torch keeps what it has downloaded; and nothing can be downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no route to host")))
    (tmp_path / "home" / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "home" / "hub" / "checkpoints"


def test_pretrained_weights_fill_all_but_the_last_layer(torch_home):
    from torchvision import models

    theirs = models.squeezenet1_1()
    torch.save(theirs.state_dict(), torch_home / "squeezenet1_1-b8a52dc0.pth")
    ours = Torchvision(name="squeezenet1_1", num_classes=5, pretrained=True).network.state_dict()
    same = [
        key for key, value in theirs.state_dict().items() if torch.equal(value, ours[key]) or value.shape != ours[key].shape
    ]
    assert same == list(ours)
    assert [key for key, value in theirs.state_dict().items() if value.shape != ours[key].shape] == [
        "classifier.1.weight",
        "classifier.1.bias",
    ]


def test_pretrained_weights_that_cannot_be_had_are_one_line(torch_home):
    with user_error(
        r"weights of squeezenet1_1 cannot be had \(.*no route to host.*; expected them in .*or pretrained: false"
    ):
        Torchvision(name="squeezenet1_1", num_classes=5, pretrained=True)
    torch.save({"a": torch.zeros(1)}, torch_home / "squeezenet1_1-b8a52dc0.pth")
    with user_error("are of another network: 0 of"):
        Torchvision(name="squeezenet1_1", num_classes=5, pretrained=True)


def test_a_class_may_be_called_train(folder):
    (folder / "cat").rename(folder / "train")
    assert photos(folder).classes == ("dog", "owl", "train")


def test_what_is_no_image_is_named_in_both_parts_before_anything_is_trained(tmp_path):
    image_folder(tmp_path)
    for part in ("train", "test"):
        (tmp_path / part / "cat" / "odd.png").write_bytes(b"no image")
    with user_error("2 of 38 files cannot be read as images: .*train/cat/odd.png .*, .*test/cat/odd.png"):
        check_images(tmp_path)
