"""How often the student answers as its teacher does, attacked or not."""

from ard.diagnostics.base import Found, NotApplicableError, diagnostic
from ard.diagnostics.inspected import Inspected
from ard.losses import kl


@diagnostic(
    tells="how often student and teacher give the same answer, on clean images and on those attacked against the student, "
    "and how far apart their probabilities are",
    cannot="say who is right: both may be wrong alike, and with a good teacher it is nearly robust accuracy again",
    source="arXiv:2102.13170",
    runs="with a teacher",
)
def agreement(of: Inspected) -> Found:
    """Share of images with argmax f = argmax T, from 0 to 1, and the mean KL(softmax T(x) ‖ softmax f(x')), from 0.

    x' are the clean images, and those attacked against the student; in the agreement both networks see the same ones, in the
    KL the teacher always sees the clean ones.
    """
    if of.teacher is None:
        raise NotApplicableError("it compares with a teacher")
    teacher, attacked = of.answers(of.teacher, of.x), of.answers(of.teacher, of.attacked)
    values = {
        "same answer, clean": (of.logits.argmax(dim=1) == teacher.argmax(dim=1)).double().mean(),
        "same answer, attacked": (of.attacked_logits.argmax(dim=1) == attacked.argmax(dim=1)).double().mean(),
        "KL, clean": kl(teacher, of.logits).double().mean(),
        "KL, attacked": kl(teacher, of.attacked_logits).double().mean(),
    }
    return Found(values={name: float(value) for name, value in values.items()})
