"""RankMax and RankMin against numpy, as the released code computes them, and where the answer is known."""

import numpy as np
import pytest
import torch
from tiny import generator, run_facts, user_error
from torch import nn

from ard.objectives.base import Step
from ard.objectives.rank_projection import RankProjection, projected


def kernel(*shape):
    return torch.randn(*shape, generator=generator())


def by_numpy(weight, grid, above=None, below=0.0):
    """np.fft and np.linalg.svd over the whole grid, channels last, cropped: Rank_study/utils.py of the authors."""
    kernels = weight.numpy().transpose(2, 3, 0, 1)
    left, values, right = np.linalg.svd(np.fft.fft2(kernels, grid, axes=[0, 1]), full_matrices=False)
    values = np.where(values < below, 0, values if above is None else np.minimum(values, above))
    back = np.fft.ifft2((left * values[..., None, :]) @ right, axes=[0, 1]).real
    return back[: weight.shape[2], : weight.shape[3]].transpose(2, 3, 0, 1)


@pytest.mark.parametrize("grid", [(8, 8), (5, 7), (3, 3)])
@pytest.mark.parametrize("bounds", [(1.5, 0.0), (None, 3.0), (2.5, 1.0)])
@pytest.mark.parametrize("shape", [(4, 6, 3, 3), (6, 4, 3, 3), (5, 5, 1, 1)])
def test_projection_against_numpy(shape, bounds, grid):
    found = projected(kernel(*shape), grid, 1, *bounds)
    assert found.shape == torch.Size(shape)
    np.testing.assert_allclose(found, by_numpy(kernel(*shape), grid, *bounds), rtol=1e-4, atol=1e-5)


def test_a_group_is_a_kernel_of_its_own():
    weight = kernel(6, 2, 3, 3)
    expected = np.concatenate([by_numpy(part, (8, 8), above=1.5) for part in weight.split(2)])
    np.testing.assert_allclose(projected(weight, (8, 8), 3, 1.5), expected, rtol=1e-4, atol=1e-5)


def test_where_the_answer_is_known():
    """One pixel times c times an orthogonal matrix has every singular value c; a kernel of one pixel is a matrix."""
    orthogonal = torch.linalg.qr(kernel(5, 5)).Q
    weight = torch.zeros(5, 5, 3, 3)
    weight[..., 1, 1] = 2 * orthogonal
    torch.testing.assert_close(projected(weight, (8, 8), 1, 1.5), weight * 0.75)
    torch.testing.assert_close(projected(weight, (8, 8), 1, None, 2.5), torch.zeros_like(weight))
    torch.testing.assert_close(projected(weight, (8, 8), 1, 2.5, 1.5), weight)
    values = torch.linalg.svdvals(projected(kernel(5, 5, 1, 1), (8, 8), 1, 1.5, 1.0).squeeze())
    wanted = torch.linalg.svdvals(kernel(5, 5)).clamp(max=1.5)
    torch.testing.assert_close(values, torch.where(wanted < 1, 0, wanted), atol=1e-5, rtol=0)


def convolutions():
    torch.manual_seed(0)
    strided = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), strided, nn.Conv2d(4, 4, 3, padding=1), nn.Flatten(), nn.Linear(36, 4)
    )


def test_each_convolution_but_the_first_on_the_grid_that_it_sees_after_chosen_epochs():
    student, before = convolutions(), convolutions()
    objective = RankProjection(clip_above=0.2, after=[0.5, 1.0])
    objective.setup(run_facts(student=student, max_epochs=4, batches=3))
    moved = []
    for epoch in range(4):
        for batch in range(3):
            held = [parameter.clone() for parameter in student.parameters()]
            objective.begin(Step(epoch=epoch, batch=batch))
            objective.after_step_all({}, student)
            if any(not torch.equal(a, b) for a, b in zip(held, student.parameters(), strict=True)):
                moved.append((epoch, batch))
                expected = [projected(held[2], (6, 6), 2, 0.2), projected(held[4], (3, 3), 1, 0.2)]
                for found, layer in zip(expected, (student[1], student[2]), strict=True):
                    torch.testing.assert_close(layer.weight, found)
    assert moved == [(1, 2), (3, 2)]
    for same in (0, 4):
        assert torch.equal(student[same].weight, before[same].weight)
    objective = RankProjection(after=None)
    objective.setup(run_facts(student=student, max_epochs=4))
    assert objective.ends == {1, 2, 3, 4}


def test_numbers_out_of_range():
    for options in ({"clip_above": 0.0}, {"zero_below": -1.0}, {"clip_above": 1.0, "zero_below": 1.0}, {"after": [0.0]}):
        with user_error("expected"):
            RankProjection(**options)
    with user_error("Sequential has no Conv2d"):
        RankProjection().setup(run_facts(student=nn.Sequential(nn.Flatten(), nn.Linear(36, 4))))
