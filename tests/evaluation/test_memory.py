"""How many images are attacked at once: on a GPU as many as it has memory for, and a verdict for each."""

import pytest
import torch
from small_runs import digits
from tiny import user_error
from torch import nn
from zoo import BALL, honest

from ard.evaluation import cascade
from ard.evaluation.cascade import BLOCK, block_sizes
from ard.evaluation.checks import answers
from ard.evaluation.evaluation import Evaluation, evaluate_images
from ard.evaluation.recorded_calls import Copies

pytestmark = pytest.mark.usefixtures("short_attacks")


class Pixels(torch.Tensor):
    is_cuda = True


@pytest.mark.parametrize(
    ("edge", "sizes"), [(32, [500, 250, 125, 100]), (8, [500, 250, 125, 100]), (64, [125, 100]), (224, [100])]
)
def test_a_gpu_is_given_more_images_at_once_the_smaller_they_are(edge, sizes):
    x = torch.zeros(1, 3, edge, edge)
    assert block_sizes(x) == [BLOCK]
    assert block_sizes(x.as_subclass(Pixels)) == sizes


class Limited(nn.Module):
    """Memory for so many images."""

    def __init__(self, most):
        super().__init__()
        self.network, self.most = honest(), most

    def forward(self, x):
        if len(x) > self.most and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(x)


class Short(nn.Module):
    """No memory where nothing is learned."""

    def __init__(self):
        super().__init__()
        self.network = honest()

    def forward(self, x):
        if torch.is_inference_mode_enabled() or x.dtype == torch.float64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(x)


def test_memory_that_runs_out_is_no_answer_of_the_network():
    """A check would pass, or take a weaker way, without a word."""
    x, y = digits(20)
    evaluation = Evaluation(Short(), x, y, BALL)
    with pytest.raises(torch.OutOfMemoryError):
        answers._from(honest()(x), answers._inferred, evaluation.model, x)
    with pytest.raises(torch.OutOfMemoryError):
        Copies(evaluation.model).in_float64(x, honest()(x))


def test_where_memory_does_not_suffice_fewer_are_attacked_at_once(monkeypatch):
    monkeypatch.setattr(cascade, "block_sizes", lambda _: [120, BLOCK])
    x, y = digits(120)
    record = evaluate_images(Limited(110), x, y, BALL)
    assert record.n == 120
    assert record.robust_acc == pytest.approx(evaluate_images(honest(), x, y, BALL).robust_acc, abs=0.02)
    with user_error("cpu has no memory to attack 100 images at once"):
        evaluate_images(Limited(50), x, y, BALL)
