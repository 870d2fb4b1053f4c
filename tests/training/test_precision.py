"""Every objective in bfloat16: training steps whose terms are finite and add up to float32's loss, validation in float32."""

import pytest
import torch
from plain_runs import Net, plain_trainer
from pytorch_lightning import Callback
from pytorch_lightning.plugins import MixedPrecision
from recipe_steps import Steps
from shipped_recipes import CONFIGS, parts, spread
from tiny import images, labels, user_error

import ard
from ard.data import Digits
from ard.objectives.returned import total_loss
from ard.training.engine import Engine

METHODS = CONFIGS / "methods"
# Each with something of its own in the engine: one plain, replays, moved weights, weights put back, another pass on clean
# images, an average that learns, a second learner.
IN_THE_ENGINE = ("rslad", "fast_ard", "pgd_at_awp", "ikl_at-as-released", "ard-as-released", "liet", "lbgat")


class Precisions(Callback):
    """Those in which the networks answer: the student in training, what is selected in validation."""

    def __init__(self):
        self.training, self.validation = set(), set()

    def on_fit_start(self, trainer, engine):
        def note(network, _, logits):
            if not trainer.validating:
                self.training.add(logits.dtype)
            elif network is engine.selected:
                self.validation.add(logits.dtype)

        for network in {engine.student, engine.selected}:
            network.register_forward_hook(note)


@pytest.fixture
def steps(fit, tmp_path, monkeypatch):
    """steps(recipe, precision, ...): the terms of the last of two batches, half way through training; and the precisions.

    Of a recipe that replays, one batch: after every update of the weights the two runs are a little further apart.
    """
    terms = {}

    def run(recipe, precision, *more):
        monkeypatch.setattr(Engine, "report", lambda _, found, *__: terms.update({precision: found}))
        replays = parts(recipe).get("replays", 1)
        found = Precisions()
        length = [f"--trainer.max_epochs={replays}", f"--trainer.limit_train_batches={1 if replays > 1 else 2}"]
        options = [f"--trainer.precision={precision}", *length, *more]
        fit(tmp_path / precision, recipe.stem, *options, callbacks=[found])
        return terms[precision], found

    return run


def terms_of(recipe, precision):
    """Those of the second of two steps."""
    steps = Steps(recipe)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
        return [steps(number, images(4, seed=number), labels(4)).terms for number in (0, 5)][-1]


@pytest.mark.parametrize("recipe", [r for r in spread() if "replays" not in parts(r)], ids=lambda path: path.stem)
def test_every_objective_has_the_terms_of_float32_under_autocast(recipe):
    """But for the pixels whose sign turned in the attack: on four images they are up to 5 % of the loss."""
    exact, half = (terms_of(recipe, precision) for precision in ("float32", "bf16"))
    assert half.keys() == exact.keys()
    for name, term in half.items():
        assert term.dtype == torch.float32, name
        assert term.isfinite().all(), name
    assert total_loss(half).item() == pytest.approx(total_loss(exact).item(), rel=0.15)


@pytest.mark.parametrize("recipe", [METHODS / f"{name}.yaml" for name in IN_THE_ENGINE], ids=lambda path: path.stem)
def test_two_steps_in_bfloat16_are_those_of_float32_but_for_the_last_digits(recipe, steps):
    exact, _ = steps(recipe, "32-true", "--trainer.limit_val_batches=0")
    half, precisions = steps(recipe, "bf16-mixed")
    assert torch.bfloat16 in precisions.training
    assert precisions.validation == {torch.float32}
    assert half.keys() == exact.keys()
    for name, term in half.items():
        assert term.dtype == torch.float32, name
        assert term.isfinite().all(), name
    assert total_loss(half).item() == pytest.approx(total_loss(exact).item(), rel=0.03)


@pytest.mark.parametrize("recipe", ["fast_ard", "pgd_at_awp"])
def test_a_cache_of_casts_changes_nothing_where_weights_move_inside_a_step(recipe, fit, tmp_path, monkeypatch):
    """Lightning has none; one that went stale would leave replays and AWP without an effect."""
    few = ["--trainer.precision=bf16-mixed", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=0"]
    few += [f"--trainer.max_epochs={parts(METHODS / f'{recipe}.yaml').get('replays', 1)}"]
    found = []
    for cache in (False, True):
        context = lambda *_, cache=cache: torch.autocast("cpu", torch.bfloat16, cache_enabled=cache)  # noqa: E731
        monkeypatch.setattr(MixedPrecision, "autocast_context_manager", context)
        found.append(fit(tmp_path / str(cache), recipe, *few).model.student.state_dict())
    assert [name for name, value in found[0].items() if not torch.equal(value, found[1][name])] == []


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_weights_stay_in_float32(precision):
    module = ard.Distillation(student=Net(), objective="pgd_at", eps=0.1)
    for verb in ("fit", "validate"):
        with user_error(f"precision = {precision}: expected weights in float32, as with 32-true, bf16-mixed, 16-mixed"):
            getattr(plain_trainer(precision=precision), verb)(module, datamodule=Digits())
