"""Data modules: every one keeps the contract; order, ranks and resume obey their laws."""

from collections import Counter
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from image_files import fake_cifar, image_folder
from tiny import concrete, generator, user_error

import ard.data
from ard.data import DataModule, Digits
from ard.data.loading import Loader, MemoryImages, balanced

# What a class needs on disk and as arguments; a class that is missing here must work without either.
NEEDS = {
    "CIFAR10": lambda patch, at: {"root": str(fake_cifar(patch, at, "CIFAR10")[0].parent), "val_size": 10},
    "CIFAR100": lambda patch, at: {"root": str(fake_cifar(patch, at, "CIFAR100")[0].parent), "val_size": 100},
    "ImageFolder": lambda _, at: {"root": str(image_folder(at)), "size": 8, "val_size": 6},
    "Photos": lambda _, at: {"root": str(image_folder(at)), "size": 8},
    "KnownLabels": lambda *_: {"base": Digits(batch_size=8)},
    "Mixed": lambda _, at: {"base": Digits(batch_size=8), "others": str(archive(at))},
}


def archive(at: Path) -> Path:
    at.mkdir()
    np.savez(at / "others.npz", image=np.zeros((20, 8, 8, 1), np.uint8), label=np.arange(20) % 10)
    return at / "others.npz"


@pytest.fixture(params=concrete(ard.data, DataModule), ids=lambda kind: kind.__name__)
def data(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DataModule:
    needs = NEEDS.get(request.param.__name__, lambda *_: {})(monkeypatch, tmp_path / "data")
    return request.param(**needs) if "base" in needs else request.param(batch_size=8, **needs)


def numbered(n: int) -> MemoryImages:
    return MemoryImages(torch.zeros(n, 1, 1, 1, dtype=torch.uint8), torch.arange(n))


def batches(n: int = 103, batch_size: int = 12, epoch: int | None = 0, seed: int = 0, rank: int = 0, ranks: int = 1):
    order = None if epoch is None else lambda: epoch
    loader = Loader(numbered(n), batch_size=batch_size, epoch=order, seed=seed, rank=rank, world_size=ranks)
    found = [labels.tolist() for _, labels in loader]
    assert len(found) == len(loader)
    return found


def test_an_epoch_shows_as_many_images_as_it_says(data: DataModule) -> None:
    assert sum(1 for _ in data.train_dataloader()) == data.images_an_epoch // data.batch_size


def test_images_are_bytes_of_the_promised_shape(data: DataModule) -> None:
    assert data.num_classes == len(set(data.classes)) > 1
    for images in (*data.splits, data.test_images()):
        pixels, labels = images.__getitems__(list(range(len(images))))
        assert pixels.dtype == torch.uint8
        assert pixels.shape == (len(images), *data.input_shape)
        assert torch.equal(labels, images.labels)
        assert labels.dtype == torch.long
        assert set(labels.tolist()) == set(range(data.num_classes))


def test_splits_share_no_image_and_lose_none(data: DataModule) -> None:
    parts = (*data.splits, data.test_images(), data.training_images())
    train, val, test, both = ([*map(bytes, pixels_of(images).flatten(1).numpy())] for images in parts)
    assert Counter(train) + Counter(val) == Counter(both)
    assert len(val) == data.val_size
    assert not set(train) & set(val)
    assert not set(train + val) & set(test)


def test_validation_is_stratified(data: DataModule) -> None:
    train, val = (torch.bincount(images.labels, minlength=data.num_classes) for images in data.splits)
    assert ((train + val) * data.val_size / (train + val).sum() - val).abs().max() <= 1
    assert data.additional or data.class_counts == train.tolist()  # what is mixed in is counted, too


def test_batches_are_pixels_of_the_global_size(data: DataModule) -> None:
    for loader, size in ((data.train_dataloader(), 8), (data.val_dataloader(), min(8, data.val_size))):
        x, y = data.on_after_batch_transfer(next(iter(loader)), 0)
        assert x.shape == (size, *data.input_shape)
        assert len(y) == size
        assert x.min() >= 0
        assert x.max() <= 1
        assert torch.equal((x * 255).round() / 255, x)
        assert data.augment(x, generator()).shape == x.shape


def test_seed_shuffles_and_split_seed_splits() -> None:
    first, shuffled, split = Digits(), Digits(seed=1), Digits(split_seed=1)
    for mine, same in zip(first.splits, shuffled.splits, strict=True):
        assert torch.equal(mine.indices, same.indices)
    assert set(first.splits[1].indices.tolist()) != set(split.splits[1].indices.tolist())
    first_batch, other_batch = (next(iter(data.train_dataloader()))[1] for data in (first, shuffled))
    assert not torch.equal(first_batch, other_batch)


def test_without_a_trainer_every_pass_has_another_order() -> None:
    """Else the images of the last, dropped batch would never be shown."""
    passes = [torch.cat([y for _, y in data.train_dataloader()]).tolist() for data in [Digits()] * 2 + [Digits()] * 2]
    assert passes[0] != passes[1]
    assert passes[:2] == passes[2:]
    data = Digits()
    length = len(data.train_dataloader())
    counted = [torch.cat([y for _, (_, y) in zip(range(length), data.train_dataloader(), strict=False)]) for _ in range(2)]
    assert [labels.tolist() for labels in counted] == passes[:2]  # as Lightning does, which asks for no batch too many


def test_digits_sizes() -> None:
    data = Digits()
    assert [len(images) for images in (*data.splits, data.test_images())] == [1197, 200, 400]
    assert torch.equal(pixels_of(data.test_images()), pixels_of(Digits(seed=3, split_seed=3).test_images()))


@pytest.mark.parametrize("val_size", [9, 1388])
def test_a_validation_split_too_small_or_too_large_is_refused(val_size: int) -> None:
    with user_error(rf"val_size = {val_size}: expected 10 \(one a class\) to 1387"):
        _ = Digits(val_size=val_size).splits


def test_batch_sizes_that_do_not_fit_are_refused() -> None:
    with user_error("batch_size = 1198: expected at most the 1197 training images"):
        Digits(batch_size=1198).train_dataloader()
    data = Digits(batch_size=128)
    data.trainer = SimpleNamespace(world_size=3, global_rank=0, current_epoch=0)
    with user_error("batch_size = 128 is the global one: expected a multiple of 3 processes"):
        data.train_dataloader()


@pytest.mark.fault(27)
def test_the_last_small_batch_is_left_out_of_training_and_kept_in_validation(observed) -> None:
    training, validation = batches(), batches(epoch=None)
    assert [len(batch) for batch in training] == [12] * 8
    assert [len(batch) for batch in validation] == [12] * 8 + [7]
    observed("103 images in batches of 12: training drops the last 7 of each epoch's order, validation has a batch of 7")


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first = batches()
    torch.manual_seed(1)
    assert batches() == first
    assert batches(epoch=1) != first
    assert batches(seed=1) != first
    assert len(first) == 103 // 12
    assert all(len(batch) == 12 for batch in first)
    assert len({*chain(*first)}) == 96


def test_a_loader_asks_for_the_epoch_at_every_pass() -> None:
    now = [0]
    loader = Loader(numbered(20), batch_size=5, epoch=lambda: now[0], seed=0, rank=0, world_size=1)
    first = [labels.tolist() for _, labels in loader]
    now[0] = 1
    assert [labels.tolist() for _, labels in loader] == batches(20, 5, epoch=1) != first


def test_ranks_share_each_global_batch() -> None:
    shares = [batches(rank=rank, ranks=4) for rank in range(4)]
    for whole, *parts in zip(batches(), *shares, strict=True):
        assert sorted(chain(*parts)) == sorted(whole)
        assert [len(part) for part in parts] == [3] * 4


@pytest.mark.fault(44)
@pytest.mark.parametrize("n", [3, 12, 102, 103, 104])
def test_validation_sees_each_image_once_on_any_number_of_ranks(n: int, observed) -> None:
    assert [*chain(*batches(n, epoch=None))] == list(range(n))
    shares = [batches(n, epoch=None, rank=rank, ranks=3) for rank in range(3)]
    assert sorted(chain(*chain(*shares))) == list(range(n))
    observed(f"{n} validation images on 3 processes: each once, none padded")


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_inside_an_epoch_yields_the_remaining_batches(workers: int) -> None:
    def loader() -> Loader:
        return Loader(numbered(103), batch_size=12, epoch=lambda: 0, seed=0, rank=0, world_size=1, workers=workers)

    interrupted, resumed = loader(), loader()
    passing = iter(interrupted)
    for _ in range(3):
        next(passing)
    resumed.load_state_dict(interrupted.state_dict())
    assert [labels.tolist() for _, labels in resumed] == batches()[3:]
    assert [labels.tolist() for _, labels in resumed] == batches()
    assert resumed.state_dict() == {"epoch": 0, "yielded": len(batches())}


class Elsewhere(torch.Tensor):
    """On a GPU: what is on the CPU is no index into it."""

    def __getitem__(self, index: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor")

    def cpu(self) -> torch.Tensor:
        return self.as_subclass(torch.Tensor)


def test_balanced_takes_equally_many_of_each_class() -> None:
    labels = torch.randint(3, (500,), generator=generator())
    chosen = balanced(labels, 61)
    assert torch.equal(chosen, balanced(labels, 61))
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert sorted(torch.bincount(labels[chosen]).tolist()) == [20, 20, 21]
    scarce = torch.tensor([0] * 50 + [1] * 4)
    assert torch.bincount(scarce[balanced(scarce, 20)]).tolist() == [16, 4]
    assert torch.equal(balanced(labels, 900), torch.arange(500))
    assert torch.equal(balanced(labels.as_subclass(Elsewhere), 61), chosen)


def pixels_of(images) -> torch.Tensor:
    return images.__getitems__(list(range(len(images))))[0]


def test_a_module_of_anybodys_trains_on_the_digits_with_lightnings_own_trainer(tmp_path):
    class Linear(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(64, 10)

        def training_step(self, batch, _):
            x, y = batch
            assert x.dtype == torch.float32
            return torch.nn.functional.cross_entropy(self.layer(x.flatten(1)), y)

        def validation_step(self, batch, _):
            assert len(batch) == 2

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_epochs=1, limit_train_batches=2, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    trainer.fit(Linear(), datamodule=Digits())
    assert trainer.global_step == 2
