"""Splitting images so that each class has its share: scikit-learn's split to the bit, where that leaves no class on one side
alone, and without the second that it takes to import it. Teachers and records of earlier runs depend on it."""

import numpy as np


def stratified_split(labels: np.ndarray, test_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the rest and of `test_size` images, as `sklearn.model_selection.train_test_split(stratify=labels)` draws
    them with `random_state=seed`; but a class that this leaves on one side alone is on both, where the sizes allow it."""
    _, classes = np.unique(labels, return_inverse=True)
    counts = np.bincount(classes)
    of_class = np.split(np.argsort(classes, kind="mergesort"), np.cumsum(counts)[:-1])
    draw = np.random.RandomState(seed)
    train_counts = _shares(counts, len(labels) - test_size, draw)
    test_counts = _shares(counts - train_counts, test_size, draw)
    moved = _on_both_sides(train_counts, counts) - train_counts
    train, test = [], []
    for indices, first, second in zip(of_class, train_counts + moved, test_counts - moved, strict=True):
        shuffled = indices[draw.permutation(len(indices))]
        train.append(shuffled[:first])
        test.append(shuffled[first : first + second])
    return draw.permutation(np.concatenate(train)), draw.permutation(np.concatenate(test))


def stratified_folds(labels: np.ndarray, count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """`count` times the indices of the rest and of one fold, each index in one fold; folds, and each class's shares of them,
    differ by one image at most."""
    draw = np.random.RandomState(seed)
    in_order = np.concatenate([draw.permutation(np.flatnonzero(labels == one)) for one in np.unique(labels)])
    folds = [np.sort(in_order[first::count]) for first in range(count)]
    return [(np.setdiff1d(in_order, fold), fold) for fold in folds]


def _on_both_sides(shares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The shares, with an image or more of every class and of none all, at the cost of the classes that can spare most."""
    shares = shares.copy()
    while (lacking := np.flatnonzero((shares == 0) & (counts > 1))).size and shares.max() > 1:
        shares[shares.argmax()] -= 1
        shares[lacking[0]] += 1
    while (full := np.flatnonzero(shares == counts)).size and (counts - shares).max() > 1:
        shares[(counts - shares).argmax()] += 1
        shares[full[0]] -= 1
    return shares


def _shares(counts: np.ndarray, total: int, draw: np.random.RandomState) -> np.ndarray:
    """How many of each class make `total`: rounded down, one more for those with the largest remainders; ties are drawn."""
    exact = counts / counts.sum() * total
    shares = np.floor(exact)
    missing, remainder = int(total - shares.sum()), exact - shares
    for value in np.sort(np.unique(remainder))[::-1]:
        if missing == 0:
            break
        (tied,) = np.where(remainder == value)
        chosen = draw.choice(tied, size=min(len(tied), missing), replace=False)
        shares[chosen] += 1
        missing -= len(chosen)
    return shares.astype(int)
