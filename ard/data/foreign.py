"""Data of a user's own: any loaders of (images, labels), as the engine sees them."""

import math
import warnings
from collections.abc import Iterator, Sequence, Sized
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ard.core.errors import UserError
from ard.core.pixels import check_pixels
from ard.data.loading import Batch

NOT_PROMISED = (
    "loaders that are not of ard.data: an interrupted run resumes at an epoch's beginning and not to the same bits, reports "
    "name no images, and nothing is augmented here but by the loaders themselves"
)


class ForeignData:
    """The loaders that a trainer was given, or those of a data module that is not ours.

    Images are floats in [0, 1] or uint8, labels classes from 0, or shares of classes. What is known beforehand of our own
    data is read from the first training batch.
    """

    additional = False
    cutmix = 0.0
    num_classes: int | None = None  # the student is asked
    title: str | None = None

    def __init__(self) -> None:
        self.classes: Sequence[str] = ()
        self.input_shape: tuple[int, ...] = ()
        self.batch_size = self.image_count = 0  # images: 0 where nobody knows, as of a stream
        self.few: Batch = (torch.empty(0), torch.empty(0))  # the first training batch, for questions about a teacher

    def look(self, trainer: pl.Trainer) -> None:
        """Take the shape of the images from the first training batch; warn of what is not promised."""
        trainer.fit_loop.setup_data()  # as Lightning itself does where somebody asks for the length of a schedule
        loader: Any = trainer.train_dataloader
        if loader is None:
            raise UserError("limit_train_batches = 0: nothing to train on; expected a batch or more")
        check_one_loader(loader, "training")
        if trainer.enable_validation:
            trainer.fit_loop.epoch_loop.val_loop.setup_data()  # which is not done again
            check_one_loader(trainer.val_dataloaders, "validation")
        x, y = self.received(_first_batch(trainer), 0)
        self.few, self.input_shape = (x, y), tuple(x.shape[1:])
        self.batch_size = len(y) * trainer.world_size
        dataset = getattr(loader, "dataset", None)
        batches = 0 if math.isinf(trainer.num_training_batches) else int(trainer.num_training_batches)
        self.image_count = len(dataset) if isinstance(dataset, Sized) else batches * self.batch_size
        self.classes = tuple(str(name) for name in getattr(dataset, "classes", ()))
        if trainer.is_global_zero:
            warnings.warn(NOT_PROMISED, stacklevel=1)

    def received(self, batch: Any, batch_idx: int) -> Batch:
        """Images as floats and labels as whole numbers; the first batch of an epoch is checked for pixels outside [0, 1]."""
        if not (isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)):
            raise UserError(f"a batch is {_kind(batch)}; expected a pair of tensors: images and labels")
        x, y = batch
        if x.shape[:1] != y.shape[:1]:
            raise UserError(f"images {tuple(x.shape)} and labels {tuple(y.shape)}: expected a label for each image")
        x = x.float() / 255 if x.dtype == torch.uint8 else x.float() if x.is_floating_point() else x
        if batch_idx == 0:
            _check_range(x)
        return x, y if y.is_floating_point() else y.long()

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """Nothing: the loaders have done what their owner wanted."""
        return x

    def mix(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Batch:  # noqa: ARG002
        """Nothing either."""
        return x, y

    def image_indices(self, batch_idx: int) -> None:  # noqa: ARG002
        """Nobody knows which images of which data set they show."""
        return


def check_one_loader(loaders: Any, name: str) -> None:
    """Raises UserError where there are several loaders, in a list, or as Lightning's CombinedLoader has them."""
    if isinstance(loaders, list | tuple | dict) and len(loaders) > 1:
        raise UserError(
            f"{len(loaders)} {name} loaders: expected one, such as DataLoader(torch.utils.data.ConcatDataset([...])) of the "
            "images of all"
        )


def _first_batch(trainer: pl.Trainer) -> Any:
    """A batch as training begins with; of a stream, of which a second pass may take one away, that very batch."""
    loader: Any = trainer.train_dataloader
    try:
        if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
            with torch.random.fork_rng([]):  # a loader draws on the CPU
                batch = next(iter(loader))
                if loader.persistent_workers:  # which have one pass, that of training, too: it begins anew
                    iter(loader)
                return batch
        return _first_fetched(trainer.fit_loop._data_fetcher)
    except StopIteration:
        raise UserError("the training loader gives no batch; expected one or more") from None


def _first_fetched(fetcher: Any) -> Any:
    """The first batch of Lightning's own pass, which goes on with it; raises StopIteration where there is none."""
    if not fetcher.batches:  # it holds one already where a loader has no length
        first, rest = next(fetcher.iterator), fetcher.iterator
        fetcher.iterator = _with_first(first, rest)
    else:
        first = fetcher.batches[0]
    return first[0]


def _with_first(first: Any, rest: Any) -> Iterator[Any]:
    yield first
    while True:  # without iter(rest), which would begin it anew
        try:
            yield next(rest)
        except StopIteration:
            return


def _check_range(x: Tensor) -> None:
    try:
        check_pixels(x)
    except UserError as error:
        if "expected [0, 1]" not in str(error):
            raise
        raise UserError(
            f"{str(error).partition('; expected')[0]}; expected [0, 1]: take Normalize out of the transform and put it into "
            "the networks: ard.models.Normalized.around(net, mean=..., std=...)"
        ) from error


def _kind(batch: Any) -> str:
    if isinstance(batch, list | tuple):
        return f"{len(batch)} parts ({', '.join(type(part).__name__ for part in batch)})"
    return f"a {type(batch).__name__}"


def outside_inference(*values: Tensor) -> tuple[Tensor, ...]:
    """Tensors as they are, or copies through which gradients may flow: a plain trainer validates under inference mode."""
    with torch.inference_mode(False):
        return tuple(value.clone() if value.is_inference() else value for value in values)
