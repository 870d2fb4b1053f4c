"""Whether each node of the teacher has one in the student that says the same."""

from collections.abc import Mapping

from torch import Tensor

from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.likeness import INPUTS, LayerLikeness, layer_likeness

COVERED = 0.5  # a correlation from which on a teacher node counts as found in the student
IN_TABLE = ("mean best match", "coverage")  # by their mean over layers; the rest is a number a layer


@diagnostic(
    tells="which share of the teacher's nodes the student has, on clean and attacked images and under noise, and whether it "
    "dropped the strong or the weak ones",
    cannot="rank robust students, and see a feature that is spread over several nodes: linear_cka does",
    source="arXiv:2102.13170; strong and weak nodes: arXiv:1909.13458",
    runs="with a teacher",
)
def node_correlation(of: Inspected) -> Found:
    """For teacher node j the best match max_k rho_jk, rho the Pearson correlation over images and positions, from -1 to 1.

    A layer of the teacher is compared with the student's of the same size nearest in relative depth, both averaged to the
    smaller size where none has the same. Nodes that never vary are left out. Coverage is the share of teacher nodes matched
    with 0.5 or more; strong and weak are the third of largest and smallest fan-out norm times standard deviation.
    "shuffled" is what is found where the student sees other images.
    """
    layers: dict[str, dict[str, float]] = {}
    for kind in INPUTS:
        for layer in layer_likeness(of, kind):
            layers.setdefault(layer.name, {}).update(_summary(layer, kind))
    if not layers:
        raise NotApplicableError("no node of either network varies over these images")
    return Found(values=_means(layers), layers=layers, settings={"covered from": COVERED, "layers": len(layers)})


def _summary(layer: LayerLikeness, kind: str) -> dict[str, float]:
    found = {
        f"mean best match, {kind}": float(layer.best.mean()),
        f"10th percentile, {kind}": float(layer.best.quantile(0.1)),
        f"coverage, {kind}": _coverage(layer.best),
    }
    if kind == "clean":
        found["mean best match, shuffled"] = float(layer.shuffled.mean())
        third = len(layer.best) // 3
        if layer.strength is not None and third:
            order = layer.best[layer.strength.argsort()]
            found |= {"coverage of strong": _coverage(order[-third:]), "coverage of weak": _coverage(order[:third])}
    return found


def _coverage(best: Tensor) -> float:
    return float((best >= COVERED).double().mean())


def _means(layers: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    keys = dict.fromkeys(key for found in layers.values() for key in found if key.startswith(IN_TABLE))
    shown = {key: [found[key] for found in layers.values() if key in found] for key in keys}
    return {key: sum(numbers) / len(numbers) for key, numbers in shown.items()}
