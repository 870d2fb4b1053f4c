"""How far training has turned the tangent kernel, and how like the teacher's it has become."""

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.models.frozen import Frozen

IMAGES = 32


@diagnostic(
    tells="how far training went from the regime in which a network learns like a kernel, and whether student and teacher "
    "see the same pairs of images as alike in what they would learn of them",
    cannot="say which is better; a kernel of a few images says little of others",
    source="arXiv:1910.00359, the kernel after arXiv:1806.07572",
)
def tangent_kernel(of: Inspected) -> Found:
    """Θ(x, x') = 1/C Σ_c ⟨∂f_c(x)/∂θ, ∂f_c(x')/∂θ⟩ on 32 images, the mean of the kernel's C × C blocks over their diagonals.

    The drift is ‖Θ_T − Θ_0‖_F / ‖Θ_0‖_F, from 0; cosines are ⟨Θ, Θ'⟩ / (‖Θ‖ ‖Θ'‖), 1 for kernels of one form. The start is
    the student before its training, drawn anew. Raises NotApplicableError without a start and without a teacher of one
    network.
    """
    x, others, settings = of.x[of.sample(IMAGES, "tangent kernel")], {}, {}
    for name, network, why in (
        ("start", of.initial, "not known"),
        ("teacher", _single(of.teacher), "none, or an ensemble, which has no weights of its own"),
    ):
        if network is None:
            settings[name] = f"not compared: {why}"
        else:
            others[name] = network
    if not others:
        raise NotApplicableError("neither the start of training nor a teacher of one network is known")
    kernels = {name: _kernel(of, network, x) for name, network in {"student": of.student, **others}.items()}
    ours, values = kernels.pop("student"), {}
    if "start" in kernels:
        values["drift from the start"] = float((ours - kernels["start"]).norm() / kernels["start"].norm())
    for name, kernel in kernels.items():
        values[f"cosine with the {name}"] = float((ours * kernel).sum() / (ours.norm() * kernel.norm()))
    return Found(values=values, settings=settings, n=len(x))


def _single(teacher: nn.Module | None) -> nn.Module | None:
    if isinstance(teacher, Frozen):
        return teacher.networks[0] if len(teacher.networks) == 1 else None
    return teacher


def _kernel(of: Inspected, network: nn.Module, x: Tensor) -> Tensor:
    weights = {name: p.detach() for name, p in network.named_parameters()}

    def logit(weights: dict[str, Tensor], image: Tensor, c: int) -> Tensor:
        return functional_call(network, weights, (image[None],))[0, c]

    classes = of.logits.shape[1]
    total = torch.zeros(len(x), len(x), dtype=torch.float64, device=x.device)
    for c in of.track(range(classes), "tangent kernel"):
        with sdpa_kernel(SDPBackend.MATH):  # the one way to compute attention that vmap knows
            gradients = vmap(grad(logit), in_dims=(None, 0, None))(weights, x, c)
        for gradient in gradients.values():
            rows = gradient.flatten(1)
            total += (rows @ rows.T).double()
    return total / classes
