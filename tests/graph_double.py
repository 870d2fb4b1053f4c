"""Doubles of a GPU for tests on a CPU: a graph that records and replays kernels, and a device that nobody may wait for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Kernels whose answer, or the size of whose answer, the host must know.
KERNELS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "allclose", "masked_select", "_unique2"}
METHODS = {"cpu", "item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__"}


class WaitedError(RuntimeError):
    """The host asked the device for an answer."""


class NoWaiting(TorchFunctionMode):
    """Refuses what makes the host wait for a GPU, in Python: `.item()`, `.cpu()`, `if tensor`."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        to = [str(value) for value in (*args[1:], *(kwargs or {}).values())] if name == "to" else []
        if name in METHODS or ("cpu" in to and not args[0].is_cpu):
            raise WaitedError(f"Tensor.{name} waits for the device")
        return func(*args, **(kwargs or {}))


class Kernels(TorchDispatchMode):
    """Refuses the same below Python: kernels, and boolean masks as an index."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket.__name__
        masks = [] if not name.startswith("index") else [t for t in tree_leaves(args[1:]) if isinstance(t, torch.Tensor)]
        if name in KERNELS or any(mask.dtype == torch.bool for mask in masks if mask is not args[-1] or name == "index"):
            raise WaitedError(f"{func} waits for the device")
        return self.run(func, args, kwargs or {})

    def run(self, func, args, kwargs):
        return func(*args, **kwargs)


@contextmanager
def nobody_waits() -> Iterator[None]:
    with NoWaiting(), Kernels():
        yield


class Tape(Kernels):
    """A CUDA graph's double: Python runs once, a replay runs the same kernels over the same memory."""

    def __init__(self):
        super().__init__()
        self.calls, self.given, self.made = [], {}, []

    def run(self, func, args, kwargs):
        if func._overloadpacket.__name__ == "lift_fresh":
            raise WaitedError("a tensor of what Python knows: a replay would copy from memory that is gone")
        own = {tensor.untyped_storage().data_ptr() for tensor in self.made}
        for tensor in _tensors((args, kwargs)):
            place = tensor.untyped_storage().data_ptr()
            if place not in own and place not in self.given:
                self.given[place] = tensor.detach(), tensor.detach().clone()
        out = func(*args, **kwargs)
        self.made += [tensor for tensor in _tensors(out) if tensor.untyped_storage().data_ptr() not in self.given]
        self.calls.append((func, args, kwargs, _tensors(out)))
        return out

    @torch.no_grad()
    def forget(self):
        """A capture runs no kernel: what came from outside is as it was."""
        for tensor, before in self.given.values():
            tensor.copy_(before)
        self.given.clear()
        self.made.clear()

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    def replay(self):
        for func, args, kwargs, outs in self.calls:
            known = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
            fresh = [out for out in outs if out.untyped_storage().data_ptr() not in known]
            if outs and not fresh and not func._schema.is_mutable:
                continue  # a view: the same memory
            for old, new in zip(outs, _tensors(func(*args, **kwargs)), strict=True):
                if any(old is out for out in fresh):
                    old.detach().copy_(new)


def recorded(run):
    """In the place of training.recording.cuda_graph."""
    with NoWaiting(), Tape() as tape:
        answer = run()
    tape.forget()
    return answer, tape.replay


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
