"""Whole float32, whatever torch was told before, by older names or newer ones; and as it was, afterwards."""

import pytest
import torch
from prepared import start, statuses

from ard.attacks.folding import folded
from ard.core.float32 import is_whole_float32, whole_float32
from ard.evaluation.cascade import evaluation_mode
from ard.models import ResNet

SETTINGS = [
    "pass",
    "torch.backends.cudnn.allow_tf32 = False",
    "torch.backends.cuda.matmul.allow_tf32 = True",
    'torch.set_float32_matmul_precision("high")',
    'torch.set_float32_matmul_precision("medium")',  # as Lightning advises
    'torch.backends.fp32_precision = "tf32"',
    'torch.backends.cuda.matmul.fp32_precision = "tf32"',
    'torch.backends.cudnn.conv.fp32_precision = "ieee"',
]


def answer(ask):
    try:
        return ask()
    except RuntimeError:  # as torch answers by older names where newer ones were used
        return "mixed"


def state():
    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    newer = [part.fp32_precision for part in (cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv)]
    older = [torch.get_float32_matmul_precision, lambda: cudnn.allow_tf32, lambda: cuda.matmul.allow_tf32]
    return [*newer, *map(answer, older), cudnn.benchmark]


def told(settings):
    """In a process that torch was told nothing in yet; it fails as `python` does."""
    network, parts = ResNet(num_classes=2, width=4, blocks=(1,)).eval(), []
    for setting in settings:
        exec(setting)
        before = state()
        with whole_float32():
            assert is_whole_float32()
            parts.append((torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision))
        with evaluation_mode(network), folded(network):
            network(torch.rand(2, 3, 8, 8))
        assert state() == before, (before, state())
    assert {one for pair in parts for one in pair} <= {"ieee", "none"}, parts


def ended(settings, talk):
    """The status of such a process and what it wrote."""
    return statuses(start(told, settings, words=talk)), talk.read_text()


def test_what_was_set_comes_back_and_means_nothing_inside(tmp_path):
    """The newer names last, since after them the older cannot be read."""
    assert ended(SETTINGS, tmp_path / "talk") == ([0], "")


BOTH = 'torch.backends.fp32_precision = "tf32"; torch.set_float32_matmul_precision("high")'


@pytest.mark.parametrize("setting", [*SETTINGS[-2:], BOTH, 'torch.backends.mkldnn.conv.fp32_precision = "bf16"'])
def test_the_newer_names_alone(setting, tmp_path):
    assert ended([setting], tmp_path / "talk") == ([0], "")
