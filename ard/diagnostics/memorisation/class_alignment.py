"""Whether images of a class look alike to the network, and pull its logits the same way."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ard.diagnostics.activations import penultimate
from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected


@diagnostic(
    tells="whether a class is learned as one thing (near 1) or image by image (near 0); alignment that falls under attack "
    "while the training loss still falls is a sign of memorising",
    cannot="be compared between layers of other kinds: behind a ReLU nothing is negative, which aligns everything",
    source="arXiv:2008.13363",
)
def class_alignment(of: Inspected) -> Found:
    """Omega = (‖sum v̂‖² − sum ‖v̂‖²) / (n (n − 1)), v̂ = v / mean ‖v‖, of the n images of a class; its mean over classes.

    1 for equal vectors, 0 for orthogonal ones; below where they cancel. v is what the last linear layer reads, and the
    gradient of cross entropy with respect to the logits, softmax f − onehot y.
    """
    labels, counts = of.y.unique(return_counts=True)
    if int(counts.max()) < 2:
        raise NotApplicableError("no class has two images")
    several = labels[counts > 1]
    values = {}
    for kind, x, logits in (("clean", of.x, of.logits), ("attacked", of.attacked, of.attacked_logits)):
        seen = torch.cat([penultimate(of.student, block) for (block,) in of.blocks(x)])
        pull = logits.softmax(dim=1) - F.one_hot(of.y, logits.shape[1])
        values[f"representations, {kind}"] = _mean_alignment(seen, of.y, several)
        values[f"logit gradients, {kind}"] = _mean_alignment(pull, of.y, several)
    return Found(values=values, settings={"classes": len(several)})


def _mean_alignment(vectors: Tensor, y: Tensor, labels: Tensor) -> float:
    return sum(_alignment(vectors[y == label].double()) for label in labels) / len(labels)


def _alignment(vectors: Tensor) -> float:
    """Of the vectors (n, d) of one class; 0 where all of them are 0."""
    length, n = vectors.norm(dim=1).mean(), len(vectors)
    if length == 0:
        return 0.0
    vectors = vectors / length
    return float((vectors.sum(dim=0).square().sum() - vectors.square().sum()) / (n * (n - 1)))
