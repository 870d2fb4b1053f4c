"""CutMix: each pixel is of one of two images, and each label says how many are of which."""

import numpy as np
import pytest
import torch
from graph_double import nobody_waits
from tiny import generator, user_error
from torch._subclasses.fake_tensor import FakeTensorMode

from ard.data import CIFAR10, Digits, Mixed
from ard.data.cutmix import cutmix
from ard.losses import cross_entropy, shares_of
from ard.training.step import accuracy

N, HEIGHT, WIDTH = 40, 7, 6
X = torch.arange(N * 2 * HEIGHT * WIDTH).view(N, 2, HEIGHT, WIDTH).float()  # no value twice
Y = torch.arange(N)  # a class for each image: a row of shares says which two they are


def test_each_pixel_is_of_one_of_two_images_and_the_shares_count_them():
    x, shares = cutmix(X, Y, N, 1.0, generator())
    partners = []
    for i in range(N):
        own = (x[i] == X[i]).all(dim=0)
        others = [j for j in range(N) if j != i and bool((x[i] == X[j])[:, ~own].all()) and not bool(own.all())]
        count = int(own.sum())
        expected = torch.zeros(N)
        expected[i] = count / (HEIGHT * WIDTH)
        if others:
            (j,) = others
            expected[j] = (HEIGHT * WIDTH - count) / (HEIGHT * WIDTH)
            rows, columns = (~own).any(dim=1).nonzero(), (~own).any(dim=0).nonzero()
            assert len(rows) * len(columns) == HEIGHT * WIDTH - count  # a whole box
            assert int(rows[-1] - rows[0]) + 1 == len(rows)
            partners.append(j)
        assert torch.equal(shares[i], expected)
    assert len(partners) == len(set(partners)) > N / 2  # a permutation gives each box


def test_boxes_are_as_large_as_those_of_the_released_code():
    """An independent simulation, image by image: λ, a box of √(1 − λ) of the sides about a centre, cut off at the edges."""
    rng, areas, n = np.random.default_rng(0), [], 20_000
    for _ in range(n):
        half = int(8 * np.sqrt(1 - rng.beta(1, 1))) // 2
        i, j = rng.integers(0, 8, 2)
        sides = [min(8, centre + half) - max(0, centre - half) for centre in (i, j)]
        areas.append(sides[0] * sides[1] / 64)
    x = torch.zeros(n, 1, 8, 8)
    kept = cutmix(x, torch.arange(n) % 2, 2, 1.0, generator())[1].max(dim=1).values  # pairs of one class: 1
    y = torch.arange(2).repeat_interleave(n // 2)
    other = (y == 1).float()
    mixed = cutmix(other.view(n, 1, 1, 1).expand(-1, 1, 8, 8), y, 2, 1.0, generator(1))
    assert torch.allclose(mixed[0].mean(dim=(1, 2, 3)), mixed[1][:, 1], atol=1e-6)
    assert float(mixed[1][: n // 2, 1].mean()) == pytest.approx(np.mean(areas) / 2, abs=0.01)
    assert float(kept.min()) >= 0.5


def test_every_row_is_a_label_and_images_differ_in_their_boxes():
    _, shares = cutmix(torch.rand(200, 3, 32, 32, generator=generator(1)), torch.arange(200) % 10, 10, 1.0, generator())
    assert torch.equal(shares.sum(dim=1), torch.ones(200))  # of 1024 pixels: to the bit
    assert len(shares.max(dim=1).values.unique()) > 50


def test_a_share_of_none_changes_nothing_and_of_half_about_half():
    x, shares = cutmix(X, Y, N, 0.0, generator())
    assert torch.equal(x, X)
    assert torch.equal(shares, torch.eye(N))
    many = X.repeat(25, 1, 1, 1)
    changed = (cutmix(many, Y.repeat(25), N, 0.5, generator())[0] != many).flatten(1).any(dim=1)
    whole = (cutmix(many, Y.repeat(25), N, 1.0, generator())[0] != many).flatten(1).any(dim=1)
    assert 0.42 < float(changed.sum() / whole.sum()) < 0.58


def test_it_is_its_generators_alone():
    assert all(map(torch.equal, cutmix(X, Y, N, 1.0, generator(3)), cutmix(X, Y, N, 1.0, generator(3))))
    assert not torch.equal(cutmix(X, Y, N, 1.0, generator(3))[0], cutmix(X, Y, N, 1.0, generator(4))[0])


def test_nobody_waits_for_a_gpu_and_the_memory_format_stays():
    with FakeTensorMode(), nobody_waits():
        x, y = cutmix(torch.rand(5, 3, 8, 8, device="cuda"), torch.zeros(5, device="cuda").long(), 10, 1.0, generator())
        assert (x.device.type, y.shape) == ("cuda", (5, 10))
    for layout in (torch.channels_last, torch.contiguous_format):
        mixed = cutmix(X.contiguous(memory_format=layout), Y, N, 1.0, generator())[0]
        assert mixed.is_contiguous(memory_format=layout)


def test_an_image_without_a_label_has_no_share():
    labels = torch.tensor([3, -1])
    assert shares_of(labels, 4).tolist() == [[0, 0, 0, 1], [0, 0, 0, 0]]
    _, shares = cutmix(torch.rand(2, 1, 8, 8), labels, 4, 1.0, generator())
    assert float(shares[:, :3].sum()) == 0
    assert float(shares.sum(dim=1).max()) <= 1


def test_smoothing_and_accuracy_know_shares():
    shares, logits = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.2, 0.0]]), torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    smooth = 0.7 * cross_entropy(logits, torch.tensor([0, 0]), 0.4) + 0.3 * cross_entropy(logits, torch.tensor([1, 1]), 0.4)
    assert float(cross_entropy(logits, shares, 0.4)[0]) == pytest.approx(float(smooth[0]))
    assert float(accuracy(logits, shares)) == 1  # four fifths of the second image have no label: it does not count
    assert float(accuracy(logits.flip(1), shares[:1].repeat(2, 1))) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutmix": 1.5}, "cutmix = 1.5: expected 0 to 1"),
        ({"cutmix": float("nan")}, "cutmix = nan: expected 0 to 1"),
        ({"rotation": 200.0}, "rotation = 200.0: expected 0 to 180"),
        ({"padding_mode": "edge", "crop_padding": 1}, "padding_mode = edge: expected one of zeros, reflect"),
        ({"padding_mode": "reflect"}, "nothing is padded; expected crop_padding = 1 or more"),
    ],
)
def test_switches_out_of_range_are_refused(options, message):
    with user_error(message):
        Digits(**options)


def test_reflection_pads_less_than_a_side():
    with user_error(r"crop_padding = 8: expected below the side"):
        Digits(crop_padding=8, padding_mode="reflect").train_dataloader()
    Digits(crop_padding=7, padding_mode="reflect").train_dataloader()


@pytest.mark.parametrize("options", [{"cutmix": 0.5}, {"rotation": 15.0}])
def test_ever_new_images_have_no_views_to_be_stored(options):
    with user_error(f"{next(iter(options))} shows images in ever new ways, .*: expected ard.models.Frozen"):
        _ = Digits(**options).view_count
    assert Digits(crop_padding=1, padding_mode="reflect").view_count == 9


def test_what_is_mixed_from_others_is_augmented_as_its_base_or_as_it_says_itself():
    base = CIFAR10(cutmix=1.0, rotation=15.0)
    assert Mixed(base=base, others="none.npz").switches == {"rotation": 15.0, "cutmix": 1.0}
    assert Mixed(base=base, others="none.npz", cutmix=0.0, rotation=5.0).switches == {"rotation": 5.0}
