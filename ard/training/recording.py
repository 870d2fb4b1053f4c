"""How the work of a GPU is recorded as a CUDA graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

Recorder = Callable[[Callable[[], Any]], tuple[Any, Callable[[], None]]]


def cuda_graph(run: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
    """Captures run(): its answer, and what computes it anew into the same memory, from what its inputs hold then."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may talk to the GPU, as NCCL's does
        answer = run()
    return answer, graph.replay


def cause(error: RuntimeError) -> str:
    """What ended a capture, in one line: the error inside it, which the unfinished capture's own error follows and hides."""
    return str(error.__context__ or error).partition("\n")[0]


@contextmanager
def without_cached_casts() -> Iterator[None]:
    """A cast that autocast remembers would be that of the weights as they were at capture."""
    enabled = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(enabled)
