"""How near the nearest image of another class is."""

from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.diagnostics.opposite_class import balls_meet, nearest_of_another_class


@diagnostic(
    tells="whether these images let any network be robust: two of different classes within 2 eps cannot both be safe",
    cannot="say anything of the network, which it does not ask, or of images that are not among these",
    source="arXiv:2011.08485; arXiv:2003.02460",
)
def opposite_class_distance(of: Inspected) -> Found:
    """min over y_j ≠ y_i of ‖x_i − x_j‖ in the ball's norm for each image, from 0, beside 2 eps.

    Within 2 eps some point lies in both balls. Distance 0 is the same image with two labels.
    """
    distances = nearest_of_another_class(of.x, of.y, of.ball).double()
    if not distances.isfinite().all():
        raise NotApplicableError("all images are of one class")
    values = {
        "share within 2 eps": float(balls_meet(distances, of.ball).double().mean()),
        "smallest": float(distances.min()),
        "median": float(distances.median()),
        "same image, another label": float((distances == 0).sum()),
    }
    return Found(values=values, settings={"norm": of.ball.norm, "2 eps": 2 * of.ball.eps})
