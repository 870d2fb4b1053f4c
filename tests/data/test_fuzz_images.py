"""Image files and archives of images changed at random: pixels of the promised shape, or one line that names the file."""

import io
import os
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import torch
from fuzzing import damaged, read_or_refused, tried
from hypothesis import given
from hypothesis import strategies as st
from image_files import image_folder
from in_time import in_time
from PIL import Image
from tiny import user_error

import ard.data.image_folder as image_folder_module
from ard.data import Digits, ImageFolder, Mixed
from ard.data.image_folder import decode

draws = st.randoms(use_true_random=False)
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # the command line keeps them from users
MODES = {
    "PNG": ("RGB", "RGBA", "P", "L", "LA", "1"),
    "JPEG": ("RGB", "L", "CMYK"),
    "GIF": ("RGB", "L"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("RGB", "CMYK", "I;16"),
    "BMP": ("RGB",),
    "PPM": ("RGB", "L"),
    "JPEG2000": ("RGB",),
    "ICO": ("RGBA",),
    "TGA": ("RGBA",),
}


def picture(mode="RGB", side=12):
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    return (
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    )


@cache
def files():
    """An image of every format and mode, animated ones too."""
    found = {}
    for format, modes in MODES.items():
        for mode in modes:
            found[f"{format} {mode}"] = written(picture(mode), format)
        if format in ("GIF", "PNG", "WEBP"):
            found[f"{format} moving"] = written(picture(), format, save_all=True, append_images=[picture().rotate(90)] * 2)
    return found


def written(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@tried(600)
@given(draw=draws)
def test_damaged_images(tmp_path, draw):
    name, other = draw.choice(sorted(files())), draw.choice(sorted(files()))
    path = tmp_path / draw.choice(("a.png", "a.jpg", "a", "a.txt", "ä\n.gif"))
    path.write_bytes(damaged(files()[name], draw, files()[other]))
    channels = draw.choice((1, 3))
    found = read_or_refused(decode, str(path), (channels, 8, 8))
    assert found is None or (found.shape == (channels, 8, 8) and found.dtype == torch.uint8)
    path.unlink()


@tried(100)
@given(draw=draws)
def test_damage_to_the_pixels_of_a_png_is_found(tmp_path, draw):
    """Its checksums say so; a JPEG has none."""
    content = bytearray(files()["PNG RGB"])
    start, end = content.index(b"IDAT") + 4, content.index(b"IEND") - 8
    content[draw.randint(start, end - 1)] ^= 1 << draw.randint(0, 7)
    path = tmp_path / "a.png"
    path.write_bytes(content)
    found, whole = read_or_refused(decode, str(path), (3, 12, 12)), np.asarray(picture())
    assert found is None or np.array_equal(found.permute(1, 2, 0), whole)


def bomb(path):
    path.write_bytes(written(Image.new("1", (20_000, 20_000)), "PNG"))


def liar(path):
    """A header that promises 2³¹ × 2³¹ pixels."""
    header = b"IHDR" + b"\x7f\xff\xff\xff" * 2 + b"\x08\x02\x00\x00\x00"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\r" + header + zlib.crc32(header).to_bytes(4) + files()["PNG RGB"][33:])


def large(path):
    """Of which Pillow only warns."""
    path.write_bytes(written(Image.new("1", (9_500, 9_500)), "PNG"))


ODD = {
    "limit of .*decompression bomb": bomb,
    "decompression bomb: 9500 × 9500 pixels, expected at most 89,478,485": large,
    "a pipe, no regular file": os.mkfifo,
    "a device, no regular file": lambda path: path.symlink_to("/dev/zero"),
    "4611686014132420609 pixels": liar,
    r"odd\.png: not an image": lambda path: path.write_bytes(b""),
    "not an image;": lambda path: path.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>"),
    "postscript": lambda path: path.write_bytes(written(picture(), "EPS")),
    "No such file": lambda path: path.symlink_to("nowhere"),
    "symbolic links": lambda path: path.symlink_to(path.name),
}


@pytest.mark.fault(61)
@pytest.mark.parametrize("what", ODD)
def test_odd_files_among_images_are_named(what, tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.check_call", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: True)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")  # Pillow would have it run the file
    image_folder(tmp_path)
    ODD[what](tmp_path / "train" / "cat" / "odd.png")
    with user_error(what if what != "postscript" else r"odd\.png: not an image"), in_time():
        ImageFolder(root=str(tmp_path), size=8, val_size=6).train_dataloader()


def test_images_of_one_pixel_and_names_that_are_no_text(tmp_path):
    image_folder(tmp_path)
    Image.new("RGB", (1, 1), "red").save(tmp_path / "train" / "cat" / "one.png")
    os.rename(os.fsencode(tmp_path / "train" / "cat" / "0.png"), os.fsencode(tmp_path / "train" / "cat") + b"/\xff\xfe.png")
    images = ImageFolder(root=str(tmp_path), size=8, val_size=6).training_images()
    assert len(images) == 25
    assert (images.pixels[:9] == torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1)).all(dim=(1, 2, 3)).sum() == 1


def test_a_name_that_is_no_text_can_be_told(tmp_path):
    (image_folder(tmp_path) / "train" / "cat" / os.fsdecode(b"\xff\x1b[2J.png")).write_bytes(b"")
    with user_error(r"\\udcff\\x1b\[2J\.png: not an image"):
        ImageFolder(root=str(tmp_path), size=8, val_size=6).train_dataloader()


@tried(150)
@given(draw=draws)
def test_damaged_archives_of_images(tmp_path, draw):
    pixels = np.arange(20 * 64, dtype=np.uint32).astype(np.uint8).reshape(20, 8, 8, 1)
    np.savez(tmp_path / "good.npz", image=pixels, label=np.arange(20) % 10)
    good = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "others.npz").write_bytes(damaged(good, draw, good))
    mixed = Mixed(base=Digits(batch_size=40), others=str(tmp_path / "others.npz"))
    images = read_or_refused(lambda: mixed.others)
    if images is not None:
        found, labels = images.__getitems__(list(range(len(images))))
        assert np.array_equal(found.permute(0, 2, 3, 1), pixels)  # checksums see to it
        assert labels.tolist() in ([*range(10)] * 2, [-1] * 20)


@pytest.mark.fault(61)
def test_large_images_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    """However many threads decode: two of the largest at once would be gigabytes."""
    at_once, most = [], []
    plain = image_folder_module._plain

    def watched(image):
        at_once.append(image)
        most.append(len(at_once))
        time.sleep(0.01)
        at_once.pop()
        return plain(image)

    monkeypatch.setattr(image_folder_module, "_plain", watched)
    monkeypatch.setattr(image_folder_module, "LARGE", 100)
    (tmp_path / "a.png").write_bytes(files()["PNG RGB"])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: decode(str(tmp_path / "a.png"), (3, 8, 8)), range(8)))
    assert max(most) == 1
