"""The names of the soundness checks, by the id under which a record keeps them: what it means when one does not pass."""

CHECK_NAMES = {
    "V1": "perturbation outside the ball",
    "V2": "pixels outside [0, 1]",
    "V3": "NaN or infinite values",
    "V4": "images that were not moved",
    "V5": "verdicts depend on the batch",
    "V6": "robust images that are wrong when clean",
    "V7": "evaluation changed the model",
    "V8": "images not judged exactly once",
    "M1": "model in train mode",
    "M2": "equal calls, different answers",
    "M3": "probabilities instead of logits",
    "M4": "not computed in float32",
    "M5": "no gradient to the pixels",
    "M6": "optimises at inference",
    "M7": "pixels between the levels of 8 bits",
    "M8": "saturated probabilities",
    "M9": "hidden state",
    "O1": "more steps are weaker",
    "O2": "PGD has not converged",
    "O3": "too few restarts",
    "O4": "margin losses beat cross entropy",
    "O5": "targeted attacks beat untargeted ones",
    "O6": "Square beats gradients",
    "O7": "noise beats gradients",
    "O8": "transfer beats gradients",
    "O9": "accuracy rises with the radius",
    "O10": "robust without a bound",
    "O11": "missing gradients",
    "O12": "loss of the attack does not rise",
    "O13": "wrong gradients",
    "O14": "accuracy depends on the scale of the logits",
    "O15": "a control failed",
    "O16": "AutoAttack unlike the published number",
    "O17": "implausibly robust",
    "O18": "PGD-20 far above AutoAttack",
    "O19": "one class takes most answers",
    "O20": "clean accuracy not above chance",
    "O21": "robust only between the levels of 8 bits",
}

CHANCE = "O20"  # where it warns, a network may name one class whatever it sees, and no attack hurt it


def with_name(check_id: str) -> str:
    """O18 -> O18 PGD-20 far above AutoAttack; an id that this version does not know stays alone."""
    return f"{check_id} {CHECK_NAMES[check_id]}" if check_id in CHECK_NAMES else check_id


def by_number(check_id: str) -> tuple[str, int, str]:
    """A key to sort ids by: O6 before O10."""
    return check_id[:1], len(check_id), check_id
