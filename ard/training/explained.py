"""Errors of torch and Lightning that a user can mend, in one line; and a trial that finds those of a network beforehand."""

import copy
import re

import torch
from torch import nn

from ard.core.errors import UserError
from ard.core.logits import logits_of
from ard.core.modes import in_mode
from ard.core.text import first_few, first_line
from ard.losses import cross_entropy
from ard.models.building import copyable, some_images

UNUSED = "parameters that have no part in its answer, which several processes would wait for"
FIND_UNUSED = "--trainer.strategy ddp_find_unused_parameters_true, or --devices 1"
KNOWN = {
    r"not used in producing the loss": f"a network has {UNUSED}: expected none; {FIND_UNUSED}",
    r"does not require grad and does not have a grad_fn": "nothing of the network would be trained, as its answer has no "
    "gradient: expected no torch.no_grad() or detach() around all of its layers",
    r"modified by an inplace operation": "a layer of the network writes over numbers that another one's gradient needs: "
    "expected no `inplace=True` there, such as of a Dropout behind a ReLU",
    r"shared memory|</?torch_\d|Bus error": "there is too little shared memory (/dev/shm) for processes that load images: "
    "--data.workers 0 needs none; in a container --shm-size 8g makes more",
    r"DataLoader worker .* (exited unexpectedly|is killed)": "a process that loads images was killed, as systems do where "
    "memory is short: try fewer, --data.workers N, or 0",
    r"Early stopping conditioned on metric": "",  # which says it well enough
}


def explained(error: BaseException) -> UserError | None:
    """The error in our words, with the option to use; None for one that is not known."""
    reason = next((words for pattern, words in KNOWN.items() if re.search(pattern, str(error))), None)
    return None if reason is None else UserError(reason or error)


def check_gradients(network: nn.Module, shape: tuple[int, ...], batch: int, *, together: bool) -> None:
    """Raises UserError where a student in train mode has no logits, or no gradient, for `batch` images.

    With `together`, for several processes that do not look for it, also where one of its parameters has none.
    """
    try:
        tried = copy.deepcopy(copyable(network))
    except Exception:  # locks, files, loggers: each refuses in its own way, and the first step will show what is wrong
        return
    x = some_images(tried, batch, shape)
    try:
        with in_mode(tried, train=True), torch.random.fork_rng({x.device} if x.is_cuda else {}), torch.enable_grad():
            logits = logits_of(tried, x, "the student in train mode")
            cross_entropy(logits, x.new_zeros(batch, dtype=torch.long)).mean().backward()
    except RuntimeError as error:
        raise explained(error) or UserError(f"the student cannot be trained: {first_line(error)}") from error
    unused = [name for name, part in tried.named_parameters() if part.requires_grad and part.grad is None]
    if together and unused:
        raise UserError(f"the student has {UNUSED}: {first_few(unused, 3)}; {FIND_UNUSED}")
