"""Image folders as people have them: odd sizes, odd modes, damage; each is an image, or a line that names the file."""

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import image_folder
from PIL import Image
from tiny import user_error

from ard.data import ImageFolder, Photos, RandomImages
from ard.data.image_folder import DiskImages, decode
from ard.data.loading import fingerprint


def small(root: Path, **changes) -> ImageFolder:
    return ImageFolder(**{"root": str(root), "size": 8, "val_size": 6, "batch_size": 4} | changes)


@pytest.mark.parametrize(("grey", "mode"), [(False, "RGB"), (True, "L")])
def test_a_folder_holds_its_files_in_order(grey: bool, mode: str, tmp_path: Path) -> None:
    (image_folder(tmp_path) / "train" / ".hidden").mkdir()
    (tmp_path / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    module = small(tmp_path, grey=grey)
    assert (module.classes, module.input_shape) == (("cat", "dog", "owl"), (1 if grey else 3, 8, 8))
    images = module.test_images()
    assert images.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    expected = np.array(Image.open(tmp_path / "test" / "dog" / "1.png").convert(mode)).reshape(8, 8, -1)
    assert np.array_equal(images.pixels[5].permute(1, 2, 0).numpy(), expected)


def test_images_above_the_memory_limit_are_the_same(tmp_path: Path) -> None:
    held = small(image_folder(tmp_path))
    read = small(tmp_path, memory_limit_mb=0)
    assert (held.workers, read.workers) == (0, 2)
    assert isinstance(read.test_images(), DiskImages)
    for loader in ("train_dataloader", "val_dataloader"):
        for mine, same in zip(getattr(held, loader)(), getattr(read, loader)(), strict=True):
            assert torch.equal(mine[0], same[0])
            assert torch.equal(mine[1], same[1])


@pytest.mark.parametrize("memory_limit_mb", [0, 2000])
def test_a_fingerprint_tells_images_that_were_replaced_and_no_place(memory_limit_mb: int, tmp_path: Path) -> None:
    def found(root: Path) -> str:
        return fingerprint(small(root, memory_limit_mb=memory_limit_mb).splits[0])

    first, folder = image_folder(tmp_path / "first"), shutil.copytree(tmp_path / "first", tmp_path / "second")
    expected, cats = found(first), folder / "train" / "cat"
    assert found(folder) == expected
    image, time = cats / "1.png", (cats / "1.png").stat().st_mtime_ns
    Image.new("RGB", (8, 8), "red").save(image)
    os.utime(image, ns=(time, time + 1))
    replaced = found(folder)
    image.rename(cats / "1b.png")  # the same place in the order
    Image.new("RGB", (8, 8), "blue").save(cats / "1b.png")
    assert len({expected, replaced, found(folder)}) == 3


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    images = small(image_folder(tmp_path), memory_limit_mb=0).splits[0]
    (tmp_path / "train" / "cat" / "1.png").unlink()
    with user_error(r"cat/1.png: not a readable image \(No such file or directory\)"):
        fingerprint(images)


def test_training_does_without_the_test_folder(tmp_path: Path) -> None:
    shutil.rmtree(image_folder(tmp_path) / "test")
    module = small(tmp_path)
    assert sum(len(y) for loader in (module.train_dataloader(), module.val_dataloader()) for _, y in loader) == 16 + 6
    with user_error("test: no such folder"):
        module.test_images()


@pytest.mark.parametrize("kind", [ImageFolder, Photos])
def test_folders_that_are_missed_or_not_read_are_told_before_training(kind, tmp_path: Path, capsys) -> None:
    kind(root=str(image_folder(tmp_path)), size=8).training_images()
    assert capsys.readouterr().out == ""
    (tmp_path / "test").rename(tmp_path / "val")
    kind(root=str(tmp_path), size=8).training_images()
    out = " ".join(capsys.readouterr().out.split())
    assert f"{tmp_path} has no test/: evaluation wants one, or other images with --data" in out
    assert f"{tmp_path}/val is not read: the images of validation are taken from train/" in out


def test_the_validation_split_depends_on_split_seed_alone(tmp_path: Path) -> None:
    image_folder(tmp_path)
    first, shuffled, split = small(tmp_path), small(tmp_path, seed=1), small(tmp_path, split_seed=1)
    assert torch.equal(first.splits[1].indices, shuffled.splits[1].indices)
    assert set(first.splits[1].indices.tolist()) != set(split.splits[1].indices.tolist())


def empty_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "cat")
    (root / "train" / "cat").mkdir()


def lone_class(split: Path) -> None:
    for name in ("cat", "owl"):
        shutil.rmtree(split / name)


DAMAGE = {
    "train: no such folder; expected .*train/<class>/": lambda root: shutil.rmtree(root / "train"),
    "test: no such folder; expected .*test/<class>/": lambda root: shutil.rmtree(root / "test"),
    "train/cat holds 0 images; expected 2 or more": empty_class,
    "train holds 1 class folders; expected two or more": lambda root: lone_class(root / "train"),
    ": owl only in one of train/ and test/": lambda root: shutil.rmtree(root / "test" / "owl"),
    "cat, emu only in one of train/ and test/": lambda root: (root / "test" / "cat").rename(root / "test" / "emu"),
    "dog/note.txt: not an image": lambda root: (root / "train" / "dog" / "note.txt").write_text("a note"),
    "dog/0.png: not an image": lambda root: (root / "train" / "dog" / "0.png").write_bytes(b""),
    "owl/1.png: not a readable image .*truncated": lambda root: truncate(root / "train" / "owl" / "1.png"),
    "folders inside folders, more than 8 deep": lambda root: (root / "train" / "cat" / "up").symlink_to(
        root / "train" / "cat"
    ),
    "'cat ' only in one of": lambda root: (root / "test" / "cat").rename(root / "test" / "cat "),
}


def odd_name(root: Path) -> None:
    os.rename(root / "train" / "cat", os.fsencode(root / "train") + b"/caf\xe9")


def twice(root: Path) -> None:
    for form in ("NFC", "NFD"):
        shutil.copytree(root / "train" / "cat", root / "train" / unicodedata.normalize(form, "café"))


DAMAGE |= {
    r"the folder b'caf\\xe9' has a name that is no UTF-8": odd_name,
    "two folders are called 'café', written differently": twice,
}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize("memory_limit_mb", [0, 100])
@pytest.mark.parametrize("message", DAMAGE)
def test_damage_is_one_line(message: str, memory_limit_mb: int, tmp_path: Path) -> None:
    DAMAGE[message](image_folder(tmp_path))
    with user_error(message):
        module = small(tmp_path, memory_limit_mb=memory_limit_mb, workers=0, batch_size=1)
        list(module.train_dataloader())
        list(module.val_dataloader())
        module.test_images()


def test_damage_met_by_a_worker_is_one_line(tmp_path: Path) -> None:
    (image_folder(tmp_path) / "train" / "dog" / "0.png").write_bytes(b"")
    module = small(tmp_path, memory_limit_mb=0, workers=1, batch_size=1)
    with user_error("^/.*dog/0.png: not an image; replace or delete it$"):
        list(module.train_dataloader()) + list(module.val_dataloader())


@pytest.mark.parametrize("size", [0, 200_000])
def test_a_size_of_no_pixel_or_of_more_than_an_image_may_have_is_refused(tmp_path: Path, size: int) -> None:
    with user_error(f"size = {size} × {size} pixels: expected at least 1 a side"):
        small(image_folder(tmp_path), size=size)
    with user_error(f"size = {size} × {size} pixels: expected at least 1 a side"):
        RandomImages(size=size)


def saved(image: Image.Image, path: Path, **options: Any) -> str:
    image.save(path, **options)
    return str(path)


def photo(width: int, height: int) -> Image.Image:
    """Smooth, as photographs are, so that JPEG and resizing change it little."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).round().astype(np.uint8))


@pytest.mark.parametrize(("width", "height"), [(40, 40), (40, 20), (20, 40), (5, 10), (33, 57)])
def test_the_shorter_side_is_resized_and_the_centre_kept(width: int, height: int, tmp_path: Path) -> None:
    size, image = 10, photo(width, height)
    scale = size / min(width, height)
    resized = image.resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    expected = np.array(resized.crop((left, top, left + size, top + size))).astype(int)
    found = decode(saved(image, tmp_path / "a.png"), (3, size, size)).permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() <= (0 if width == height else 16)  # half a pixel where the rest is odd
    assert np.abs(found - expected).mean() < 7


def test_downsizing_averages(tmp_path: Path) -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32)))
    found = decode(saved(stripes, tmp_path / "a.png"), (1, 8, 8)).float()
    assert (found - 127.5).abs().max() < 8


def transparent(colour: str, mode: str) -> Callable[[], Image.Image]:
    return lambda: Image.new("RGBA", (8, 8), colour).convert(mode)


MODES = {
    "bits": (lambda: Image.new("1", (8, 8), 1), "png", (255, 255, 255)),
    "grey": (lambda: Image.new("L", (8, 8), 90), "jpg", (90, 90, 90)),
    "palette": (lambda: Image.new("RGB", (8, 8), (200, 10, 30)).quantize(), "png", (200, 10, 30)),
    "sixteen bits": (lambda: Image.fromarray(np.full((8, 8), 200 * 256 + 77, np.uint16)), "png", (200, 200, 200)),
    "see-through": (transparent("#ff000000", "RGBA"), "png", (255, 255, 255)),
    "half see-through": (transparent("#00000080", "RGBA"), "png", (127, 127, 127)),
    "see-through grey": (transparent("#00000000", "LA"), "png", (255, 255, 255)),
    "see-through palette": (transparent("#00000000", "P"), "gif", (0, 0, 0)),
    "print": (lambda: Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "jpg", (254, 0, 0)),
    "webp": (lambda: Image.new("RGB", (8, 8), (60, 60, 60)), "webp", (60, 60, 60)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_eight_bits_without_transparency(name: str, tmp_path: Path) -> None:
    image, suffix, colour = MODES[name]
    found = decode(saved(image(), tmp_path / f"a.{suffix}"), (3, 8, 8))
    assert (found - torch.tensor(colour).view(3, 1, 1)).abs().max() <= 1


def test_numbers_that_are_no_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.ones((8, 8), np.float32)), tmp_path / "a.tiff")
    with user_error("a.tiff: not a readable image .*32 bits a pixel"):
        decode(path, (1, 8, 8))


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    path = saved(photo(64, 64), tmp_path / "a.jpg")
    truncate(Path(path))
    with user_error("a.jpg: not a readable image"):
        decode(path, (3, 8, 8))


def test_photographs_stand_upright(tmp_path: Path) -> None:
    image, exif = photo(8, 8), Image.Exif()
    exif[0x0112] = 3  # "turned by 180 degrees"
    found = decode(saved(image, tmp_path / "a.png", exif=exif), (3, 8, 8))
    assert np.array_equal(found.permute(1, 2, 0).numpy(), np.array(image)[::-1, ::-1])


def test_tables_call_the_images_by_name_and_a_name_makes_no_other_run(tmp_path: Path) -> None:
    from ard.cli.lightning import resolve_config
    from ard.training.config_digest import config_digest

    folder = image_folder(tmp_path / "my-birds")
    assert small(folder).title == "my-birds"
    assert small(folder, name="Birds").title == "Birds"
    args = ["fit", "-c", "configs/image_folder.yaml", "-c", "configs/methods/pgd_at.yaml"]
    args += [f"--data.init_args.root={folder}"]
    digests = [config_digest(resolve_config([*args, *more])) for more in ([], ["--data.init_args.name=Birds"])]
    assert digests[0] == digests[1]
    assert config_digest(resolve_config([*args, "--data.init_args.flip=false"])) != digests[0]


LITTER = ["Thumbs.db", "desktop.ini", ".DS_Store", "._0.png", "Icon\r", "0.xmp", "0.png.json", "0.MOV", "1.aae", "2.json"]


def test_what_systems_cameras_and_clouds_leave_is_skipped_in_one_line(tmp_path: Path, capsys) -> None:
    image_folder(tmp_path)
    expected = small(tmp_path).training_images()
    assert capsys.readouterr().out == ""
    for name in LITTER:
        (tmp_path / "train" / "dog" / name).write_bytes(b"x")
    (tmp_path / "train" / "dog" / "!\nard: done.xmp").write_bytes(b"x")
    (tmp_path / "train" / "__MACOSX").mkdir()
    (tmp_path / "train" / "dog" / "@eaDir").mkdir()
    (tmp_path / "train" / "dog" / "@eaDir" / "0.png").write_bytes(b"x")
    found = small(tmp_path)
    assert torch.equal(found.training_images().pixels, expected.pixels)
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path}: 9 files that are no images were skipped: ")
    assert out.count("\n") == 1


def test_images_may_lie_deeper(tmp_path: Path) -> None:
    """As in Tiny-ImageNet, whose images are in n01443537/images/."""
    image_folder(tmp_path)
    expected = small(tmp_path).training_images()
    for folder in (tmp_path / "train").iterdir():
        (folder / "images").mkdir()
        for file in folder.glob("*.png"):
            file.rename(folder / "images" / file.name)
    assert torch.equal(small(tmp_path).training_images().pixels, expected.pixels)


def test_a_letter_of_two_characters_is_that_of_one(tmp_path: Path) -> None:
    image_folder(tmp_path, ("café", "owl"))
    (tmp_path / "test" / "café").rename(tmp_path / "test" / unicodedata.normalize("NFD", "café"))
    module = small(tmp_path)
    assert module.classes == ("café", "owl")
    assert module.test_images().labels.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("kind", [5, 10], ids=["unsigned", "signed"])
def test_an_odd_entry_beside_the_orientation_is_no_damage(kind: int, tmp_path: Path) -> None:
    """A resolution of −1/0, which cameras have written: Pillow's own turning fails at a signed one."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    saved(photo(40, 20), tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes()
    expected = decode(str(tmp_path / "a.jpg"), (3, 40, 20))
    changed = content.replace(b"\x01\x1a\x00\x05", b"\x01\x1a\x00" + bytes([kind]))
    changed = changed.replace((72).to_bytes(4, "big") + (1).to_bytes(4, "big"), b"\xff" * 4 + b"\0" * 4)
    assert changed != content
    (tmp_path / "b.jpg").write_bytes(changed)
    assert torch.equal(decode(str(tmp_path / "b.jpg"), (3, 40, 20)), expected)


def test_a_rare_class_is_on_both_sides_of_a_split(tmp_path: Path) -> None:
    image_folder(tmp_path, per_class=20)
    for file in sorted((tmp_path / "train" / "owl").iterdir())[2:]:
        file.unlink()
    train, val = small(tmp_path, val_size=38).splits
    assert (len(train), len(val), train.labels.tolist().count(2), val.labels.tolist().count(2)) == (4, 38, 1, 1)


def test_twelve_bits_in_sixteen_are_told(tmp_path):
    """Which of a camera's bits a file holds it does not say; near black is not what anybody means."""
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "x.png")
    with pytest.warns(UserWarning, match="images of 16 bits whose values are all below 4096"):
        assert int(decode(str(tmp_path / "x.png"), (1, 8, 8)).max()) == 15


def test_folders_that_are_numbers_are_told_to_be_texts(tmp_path, capsys):
    """`10` comes before `2`, as for torchvision; who labelled by the number has another order of classes."""
    module = ImageFolder(root=str(image_folder(tmp_path / "n", classes=("0", "1", "2", "10"))), size=8, val_size=4)
    assert module.classes == ("0", "1", "10", "2")
    module.training_images()
    assert "the classes are numbers, in the order of their texts: 0, 1, 10, 2;" in capsys.readouterr().out
    ImageFolder(root=str(image_folder(tmp_path / "m", classes=("1", "2"))), size=8, val_size=4).training_images()
    assert capsys.readouterr().out == ""
