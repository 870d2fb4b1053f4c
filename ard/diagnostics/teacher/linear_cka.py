"""How alike layers are whatever their nodes: linear CKA."""

from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.likeness import layer_likeness


@diagnostic(
    tells="how alike the student's layers are to the teacher's on clean and attacked images, also between networks of other "
    "widths, whose nodes have no counterpart",
    cannot="say which features are missing: a few directions of large variance decide it",
    source="arXiv:1905.00414",
    runs="with a teacher",
)
def linear_cka(of: Inspected) -> Found:
    """‖cov(t, s)‖_F² / (‖cov(t)‖_F ‖cov(s)‖_F) of the nodes t and s of two paired layers, over images and positions.

    From 0 to 1; no rotation, permutation or common scale of nodes changes it. "shuffled" is what is found where the student
    sees other images. Layers are paired as by node_correlation.
    """
    clean, attacked = (layer_likeness(of, kind) for kind in ("clean", "attacked"))
    if not clean or not attacked:
        raise NotApplicableError("no node of either network varies over these images")
    layers = {layer.name: {"clean": layer.cka, "shuffled": layer.cka_shuffled} for layer in clean}
    for layer in attacked:
        layers.setdefault(layer.name, {})["attacked"] = layer.cka
    values = {
        "mean, clean": sum(layer.cka for layer in clean) / len(clean),
        "mean, attacked": sum(layer.cka for layer in attacked) / len(attacked),
        "last layer, clean": clean[-1].cka,
        "last layer, attacked": attacked[-1].cka,
        "mean, shuffled": sum(layer.cka_shuffled for layer in clean) / len(clean),
    }
    return Found(values=values, layers=layers)
