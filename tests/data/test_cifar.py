"""CIFAR from small archives of its format: the right pixels, or one line that says which file to put where."""

from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from image_files import BATCHES, fake_cifar
from tiny import user_error
from torchvision import datasets

from ard import data
from ard.data import CIFAR10


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address where it is served."""
    (tmp_path / "site").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=tmp_path / "site")) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / "site", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def files_below(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", BATCHES)
def test_it_is_downloaded_once_and_read_whole(
    name: str, site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive, arrays = fake_cifar(monkeypatch, site[0], name)
    monkeypatch.setattr(getattr(datasets, name), "url", f"{site[1]}/{archive.name}")
    for _ in range(2):  # the second time there is nothing to download it from
        module = getattr(data, name)(root=str(tmp_path / "data"))
        for train, images in ((True, module.training_images()), (False, module.test_images())):
            assert np.array_equal(images.pixels.numpy(), arrays[train][0])
            assert images.labels.tolist() == arrays[train][1]
        archive.unlink(missing_ok=True)
    assert files_below(tmp_path / "data") == {*BATCHES[name][:2], getattr(datasets, name).meta["filename"]}
    assert sorted(module.classes) == [*module.classes]


def test_cifar_mends_a_damaged_file_from_the_archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    archive, arrays = fake_cifar(monkeypatch, tmp_path, "CIFAR10")
    module = CIFAR10(root=str(tmp_path))
    module.prepare_data()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"half")
    assert np.array_equal(module.training_images().pixels.numpy(), arrays[True][0])
    assert archive.exists()


def test_under_a_trainer_cifar_is_opened_but_not_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_cifar(monkeypatch, tmp_path, "CIFAR10")
    module = CIFAR10(root=str(tmp_path))
    module.prepare_data()
    module.trainer = SimpleNamespace()
    monkeypatch.setattr(module, "prepare_data", lambda: pytest.fail("fetched by a process that must not"))
    assert len(module.training_images()) == 40


BY_HAND = r"put cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html into .*data/"


@pytest.mark.fault(28)
def test_cifar_without_network_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, observed: Callable[[object], None]
) -> None:
    fake_cifar(monkeypatch, tmp_path / "elsewhere", "CIFAR10")
    with user_error(f"refused.*{BY_HAND}"):
        CIFAR10(root=str(tmp_path / "data")).test_images()
    assert not files_below(tmp_path / "data")
    observed("no network: one line that says which file to put where; nothing is left behind")


def test_half_a_download_leaves_nothing_behind(
    site: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    archive, _ = fake_cifar(monkeypatch, site[0], "CIFAR10")
    archive.write_bytes(archive.read_bytes()[:5000])
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{site[1]}/{archive.name}")
    with user_error(BY_HAND):
        CIFAR10(root=str(tmp_path / "data")).prepare_data()
    assert not files_below(tmp_path / "data")


@pytest.mark.fault(28)
def test_a_damaged_archive_is_named_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, observed: Callable[[object], None]
) -> None:
    archive, _ = fake_cifar(monkeypatch, tmp_path / "data", "CIFAR10")
    archive.write_bytes(archive.read_bytes()[:5000])
    with user_error(f"cifar-10-python.tar.gz is damaged.*{BY_HAND}"):
        CIFAR10(root=str(tmp_path / "data")).test_images()
    assert archive.stat().st_size == 5000
    observed("cut archive: `cifar-10-python.tar.gz is damaged`; the file is kept")
