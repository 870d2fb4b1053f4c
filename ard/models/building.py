"""Networks that are built: limits for those that a file of somebody else describes, what they answer, another of a kind."""

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy

from ard.core.errors import UserError
from ard.core.logits import WritingError, logits_of

TENSORS = 20_000  # parameters; the largest classifiers have a few thousand
ASSUMED_MEMORY = 64 * 2**30  # bytes, where the system does not say how many there are


@contextmanager
def bounded(tensors: int = TENSORS, numbers: int | None = None) -> Iterator[None]:
    """Raises UserError as soon as more parameters are made, before they are filled; by default as many as memory holds
    four times: weights, gradients, momentum and a copy."""
    most = _memory() // 16 if numbers is None else numbers
    made = {"tensors": 0, "numbers": 0}

    def count(_: nn.Module, name: str, parameter: nn.Parameter | None) -> None:  # noqa: ARG001
        if parameter is None:
            return
        check_sizes(parameter)
        made["tensors"] += 1
        made["numbers"] += parameter.numel()
        if made["tensors"] > tensors or made["numbers"] > most:
            raise UserError(
                f"a network of more than {made['numbers']:,} parameters in {made['tensors']:,} tensors; "
                f"expected at most {most:,} in {tensors:,}"
            )

    with register_module_parameter_registration_hook(count):
        yield


def check_sizes(*parameters: nn.Parameter) -> None:
    """Raises UserError for parameters of lazy layers, whose sizes are not known before a first batch."""
    if any(is_lazy(parameter) for parameter in parameters):
        raise UserError("a network with lazy layers: expected layers that say their sizes, such as nn.Linear(128, 10)")


def _memory() -> int:
    """The bytes of memory of this machine; Windows has no sysconf."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return ASSUMED_MEMORY


def interchangeable(stored: Tensor, expected: Tensor) -> bool:
    """Whether a tensor from a file can stand for one of a network as it is: dense, really there, floats for floats."""
    plain = stored.layout == torch.strided and not (stored.is_meta or stored.is_quantized or stored.is_complex())
    return plain and stored.is_floating_point() == expected.is_floating_point()


def check_answers(network: nn.Module, shape: Sequence[int], num_classes: int | None, name: str, batch: int = 1) -> int:
    """How many classes a network answers with; its parameters are frozen.

    Raises UserError where it cannot read `batch` images of this shape, writes into them, with or without a gradient, or does
    not return one logit a class.
    """
    x = some_images(network, batch, shape)
    try:
        with torch.enable_grad():
            logits_of(network, x.clone().requires_grad_(), name)
    except WritingError:
        raise
    except UserError:  # a teacher may refuse to have a gradient; any other reason comes once more
        pass
    try:
        with torch.no_grad():
            return logits_of(network, x, name, num_classes).shape[1]
    except WritingError:
        raise
    except UserError as error:
        raise UserError(f"{error}{_for_other_channels(network, shape)}") from error


def _for_other_channels(network: nn.Module, shape: Sequence[int]) -> str:
    """What to do about a network that would read the images, were they of colours in place of grey, or the reverse."""
    channels, other = shape[0], {1: 3, 3: 1}.get(shape[0])
    if other is None or any(_reads(network, shape, form) for form in (torch.contiguous_format, torch.channels_last)):
        return ""
    if not _reads(network, (other, *shape[1:]), torch.contiguous_format):
        return ""
    grey = str(other == 1).lower()
    return f"; it reads {other} channels: --data.grey {grey} of a folder of images, or a network of in_channels {channels}"


def is_steady(network: nn.Module, shape: Sequence[int]) -> bool:
    """Whether it answers the same when it is asked twice, as a network in eval mode should."""
    x = some_images(network, 1, shape)
    with torch.no_grad():
        return torch.allclose(network(x), network(x), rtol=1e-2, atol=1e-2, equal_nan=True)


def passes_gradient(network: nn.Module, x: Tensor) -> bool:
    """Whether its answer to images x has a gradient in their pixels."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = network(x)
        return logits.requires_grad and torch.autograd.grad(logits.sum(), x, allow_unused=True)[0] is not None


def some_images(network: nn.Module, count: int, shape: Sequence[int]) -> Tensor:
    """Images to try a network on, on its device; of all greys, so that a change of them is seen."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0)).to(device)


def choose_memory_format(network: nn.Module, shape: Sequence[int]) -> bool:
    """Leave a network in channels_last, faster with the same maths, and say whether it reads images so.

    One that does not, as it calls `view`, is left in the usual memory format and handed images in it; so is one in which
    channels_last is not safe.
    """
    if _usual in network._forward_pre_hooks.values():
        return False
    in_channels_last(network)
    if not any(map(_writes_outside, network.modules())) and _reads(network, shape, torch.channels_last):
        return True
    network.to(memory_format=torch.contiguous_format)
    if not _reads(network, shape, torch.contiguous_format):
        in_channels_last(network)
        return True  # what it cannot read is said where it is asked for logits
    network.register_forward_pre_hook(_usual)
    return False


def another_network(
    own: Callable[..., nn.Module] | None, student: Callable[..., nn.Module], num_classes: int, name: str
) -> nn.Module:
    """A network that learns beside the student: of its own kind, or of the student's.

    Args:
        own: Makes one of its own kind; None for one of the student's.
        student: Makes another student.
        num_classes: Number of classes; 0 where that is not known, which a student that was given finished knows itself.
        name: Of the argument `own`.

    Raises:
        UserError: Where it is of its own kind and nobody says of how many classes.
    """
    if own is not None and not num_classes:
        raise UserError(f"{name} makes a network and is not told for how many classes: pass num_classes, too")
    return (own or student)(num_classes=num_classes)


def get_ready(network: nn.Module, shape: Sequence[int], num_classes: int, name: str) -> None:
    """Settle a network that a method trains beside the student; it is in eval mode then, and the random state comes back.

    Raises UserError where its answers are none for these data, see `check_answers`.
    """
    with torch.random.fork_rng([]):
        choose_memory_format(network.eval(), shape)
        check_answers(network, shape, num_classes, name)


def _writes_outside(part: nn.Module) -> bool:
    """Whether oneDNN's weight gradient of this layer in channels_last may write outside its memory, which ends the process.

    Seen on a processor with AVX2 and no AVX-512, in 1×1 convolutions of stride 2 with 2 to 7 input channels.
    """
    narrow = isinstance(part, nn.Conv2d) and part.groups == 1 and 1 < part.in_channels < 8
    return narrow and part.kernel_size == (1, 1) and part.stride != (1, 1)


def in_channels_last(network: nn.Module) -> nn.Module:
    """The network, its weights of four dimensions in channels_last; torch's own `to` refuses a network that has others."""
    return network._apply(lambda value: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value)


def _reads(network: nn.Module, shape: Sequence[int], form: torch.memory_format) -> bool:
    try:
        with torch.no_grad():
            network(some_images(network, 2, shape).to(memory_format=form))
    except Exception:  # networks from elsewhere refuse each in its own way
        return False
    return True


def _usual(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Not contiguous(), to which images of one channel are in both formats at once."""
    return tuple(x.to(memory_format=torch.contiguous_format) if isinstance(x, Tensor) else x for x in inputs)


def copyable(network: nn.Module) -> nn.Module:
    """The network, ready for copy.deepcopy: torch copies no tensor that has a graph, as the weight that old weight
    normalisation keeps, and computes anew in each call, has one."""
    for layer in network.modules():
        for name, value in vars(layer).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                setattr(layer, name, value.detach())
    return network


def another(network: nn.Module) -> nn.Module:
    """A network of the same architecture, its weights drawn anew where its layers know how; all of them may learn."""
    copied = copy.deepcopy(copyable(network)).requires_grad_(True)  # what is drawn anew is nothing to keep frozen
    for layer in copied.modules():
        if callable(reset := getattr(layer, "reset_parameters", None)):
            reset()
    return copied
