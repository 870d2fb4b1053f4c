"""`ard predict`: image files through a network, with the reading of its training."""

from collections.abc import Iterator, Sequence

import torch

from ard.artifacts.weights import read_stored
from ard.cli.network_option import named_network
from ard.core.devices import gpu_or_cpu
from ard.core.errors import UserError
from ard.core.logits import logits_of
from ard.data import to_pixels
from ard.data.image_folder import check_side, decode
from ard.models.building import choose_memory_format
from ard.models.loading import network_with

AT_ONCE = 32  # images


@torch.inference_mode()
def predictions(weights: str, paths: Sequence[str], network: str | None) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Each file, with its classes and their probabilities, most probable first.

    Raises UserError for weights that do not say what images they are for, and for a file that is no image.
    """
    stored = read_stored(weights)
    shape, card = stored.card.input_shape, stored.card
    if shape is None or len(shape) != 3:
        raise UserError(f"{weights} does not say what images it is for: expected weights that `ard fit` wrote")
    if shape[0] not in (1, 3):
        raise UserError(f"{weights} is for images of {shape[0]} channels; expected 1, grey, or 3, as files have them")
    model = network_with(stored, weights, named_network(network))
    device = gpu_or_cpu()
    check_side(*shape[1:], name=f"{weights}: images")
    choose_memory_format(model, shape)
    count = logits_of(model, torch.zeros(1, *shape), weights, len(card.classes) if card.classes else None).shape[1]
    model = model.to(device)
    names = card.classes or tuple(map(str, range(count)))
    for first in range(0, len(paths), AT_ONCE):
        batch = paths[first : first + AT_ONCE]
        x = to_pixels(torch.stack([decode(path, shape) for path in batch])).to(device)
        for path, logits in zip(batch, model(x), strict=True):
            if not logits.isfinite().all():
                raise UserError(f"{path}: {weights} answers with numbers that are not finite; expected trained weights")
            shares = logits.softmax(dim=0).tolist()
            yield path, sorted(zip(names, shares, strict=True), key=lambda pair: -pair[1])
