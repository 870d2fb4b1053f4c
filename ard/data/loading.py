"""Images in memory or on disk, and a loader whose order depends on seed and epoch alone."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ard.core.pixels import check_pixels
from ard.core.randomness import key_seed, keyed_generator

Batch = tuple[Tensor, Tensor]  # uint8 images (batch, C, H, W), labels (batch,)
HASHED_AT_ONCE = 1024  # images, so that no second copy of all is made


class Images(Protocol):
    """Labelled images fetched a batch at a time; `labels` (n,) is known without reading a single image."""

    @property
    def labels(self) -> Tensor: ...

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int]) -> Batch: ...


@dataclass(frozen=True)
class MemoryImages:
    """uint8 images (n, C, H, W) and labels (n,) held as tensors."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> Batch:
        chosen = torch.tensor(indices, dtype=torch.long)
        if self.pixels.is_cuda:  # a list would be copied to the device by a call that waits for it
            return self.pixels[chosen.pin_memory().to(self.pixels.device, non_blocking=True)], self.labels[chosen]
        return self.pixels[chosen], self.labels[chosen]


@dataclass(frozen=True)
class Subset:
    """Some of the images, by index; each is checked as it is fetched, which costs nothing for uint8."""

    images: Images
    indices: Tensor
    shape: tuple[int, int, int]

    @property
    def labels(self) -> Tensor:
        return self.images.labels[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, indices: list[int]) -> Batch:
        places = self.indices[indices].tolist()
        pixels, labels = self.images.__getitems__(places)
        check_pixels(pixels, self.shape, places)
        return pixels, labels

    def fingerprint(self) -> str:
        """Also of which images these are, and in which order."""
        return hashlib.sha256(f"{fingerprint(self.images)} {self.indices.tolist()}".encode()).hexdigest()


class Mixture:
    """Images of two sources; the second one's indices follow the first one's."""

    def __init__(self, own: Images, others: Images) -> None:
        self.own, self.others = own, others

    @property
    def labels(self) -> Tensor:
        return torch.cat([self.own.labels, self.others.labels])

    def __len__(self) -> int:
        return len(self.own) + len(self.others)

    def __getitems__(self, indices: list[int]) -> Batch:
        first = len(self.own)
        own, others = [index for index in indices if index < first], [index - first for index in indices if index >= first]
        asked = [(self.own, own), (self.others, others)]  # of one of them a process may need no image
        pixels, labels = zip(*(source.__getitems__(places) for source, places in asked if places), strict=True)
        return torch.cat(pixels), torch.cat(labels)


def fingerprint(images: Images) -> str:
    """Another text for other images: of all pixels, unless images that are slow to read say it without them."""
    if hasattr(images, "fingerprint"):
        return str(images.fingerprint())
    digest = hashlib.sha256()
    for start in range(0, len(images), HASHED_AT_ONCE):
        pixels, _ = images.__getitems__(list(range(start, min(start + HASHED_AT_ONCE, len(images)))))
        digest.update(pixels.contiguous().numpy().data)
    return digest.hexdigest()


class Loader(DataLoader):
    """Batches of a global size, each rank its share; shuffled by (seed, epoch), and resumable inside an epoch.

    `epoch` is asked anew at every pass: Lightning's checkpoints hold no random state, so an order drawn from the global
    generator would repeat the first epoch's after a resume. `ended` is called with its last batch. With `seeded`, images are
    asked for by index and seed.
    """

    def __init__(
        self,
        images: Images,
        *,
        batch_size: int,
        epoch: Callable[[], int] | None,
        seed: int,
        rank: int,
        world_size: int,
        workers: int = 0,
        others: int = 0,
        fraction: float = 0.0,
        seeded: bool = False,
        ended: Callable[[], None] | None = None,
    ) -> None:
        own = len(images) - others  # the last `others` of the images are drawn for that fraction of a batch
        self.order = Order(own, batch_size, epoch, seed, rank, world_size, others=others, fraction=fraction)
        self.place = {"epoch": -1, "yielded": 0}
        self.restored: dict[int, int] = {}  # epoch -> batches it has seen already
        keep = {"persistent_workers": True} if workers else {}
        self.ended = ended
        sampler = Seeded(self.order) if seeded else self.order
        super().__init__(images, batch_sampler=sampler, num_workers=workers, collate_fn=_already_batched, **keep)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        epoch = self.order.epoch() if self.order.epoch else -1
        self.order.skip = self.restored.pop(epoch, 0)
        self.place = {"epoch": epoch, "yielded": self.order.skip}
        for batch in super().__iter__():
            self.place["yielded"] += 1
            if self.ended is not None and self.place["yielded"] == len(self.order):
                self.ended()  # before the last batch is out: whoever counts batches asks for no more
            yield batch

    def state_dict(self) -> dict[str, int]:
        return dict(self.place)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on inside the epoch that `state` names; any other epoch begins at its beginning."""
        self.restored = {state["epoch"]: state["yielded"]}


@dataclass
class Order:
    """Index lists for one rank. Training (`epoch` given) shuffles and drops the last partial global batch, which can
    break BatchNorm; validation keeps every index, in order, exactly once over all ranks. Of a training batch, `fraction`
    is drawn from the `others` indices that follow the first n.
    """

    n: int
    batch_size: int
    epoch: Callable[[], int] | None
    seed: int
    rank: int
    world_size: int
    skip: int = 0
    others: int = 0
    fraction: float = 0.0

    def __len__(self) -> int:
        if self.epoch is not None:
            return self.n // self._own
        return -(-len(range(self.rank, self.n, self.world_size)) // self._share)

    @property
    def _own(self) -> int:
        """How many of a training batch are among the first n."""
        return own_count(self.batch_size, self.fraction)

    @property
    def _share(self) -> int:
        return self.batch_size // self.world_size

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.batches()[self.skip :]

    def batches(self) -> list[list[int]]:
        """Every index list of this epoch; position k is that of `batch_idx` k, also in an epoch that was resumed."""
        if self.epoch is None:
            mine = range(self.rank, self.n, self.world_size)
            return [list(mine[i : i + self._share]) for i in range(0, len(mine), self._share)]
        generator = keyed_generator("cpu", "order", self.seed, self.epoch())
        order = torch.randperm(self.n, generator=generator).tolist()
        own, drawn = self._own, self.batch_size - self._own
        if drawn:
            others = (self.n + torch.randint(self.others, (len(self) * drawn,), generator=generator)).tolist()
        batches = [
            order[k * own : (k + 1) * own] + (others[k * drawn : (k + 1) * drawn] if drawn else []) for k in range(len(self))
        ]
        return [batch[self.rank :: self.world_size] for batch in batches]


def own_count(batch_size: int, fraction: float) -> int:
    """How many of a training batch, a fraction of which comes from elsewhere, are the data set's own."""
    return max(1, round(batch_size * (1 - fraction)))


@dataclass
class Seeded:
    """The same lists, in which a seed comes with each index: whichever batch, process or worker has an image, what is drawn
    for it in an epoch is the same."""

    order: Order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.order.epoch() if self.order.epoch else -1
        for batch in self.order:
            yield [(index, key_seed("image", self.order.seed, epoch, index)) for index in batch]


def _already_batched(batch: Batch) -> Batch:
    return batch


def balanced(labels: Tensor, limit: int) -> Tensor:
    """Indices of `limit` images, as equally many of each class as there are, in the order of the data; always the same."""
    labels = labels.cpu()
    shuffled = torch.randperm(len(labels), generator=keyed_generator("cpu", "limit", 0))
    rank = torch.zeros_like(labels)  # an image's turn among those of its class
    for label in labels.unique():
        mine = shuffled[labels[shuffled] == label]
        rank[mine] = torch.arange(len(mine))
    return shuffled[torch.argsort(rank[shuffled], stable=True)][:limit].sort().values


def balanced_images(images: Images, limit: int) -> Batch:
    """`limit` of the images, as equally many of each class as there are, or all of them where there are fewer."""
    return images.__getitems__(balanced(images.labels, limit).tolist())
