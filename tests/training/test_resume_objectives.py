"""Methods whose objectives remember something: stopped inside an epoch and killed between two, they end the same."""

import os
import signal

import pytest
import torch
from killed_runs import differences, states, timeless
from test_resume import Order, killed

WITH_STATE = ["adr", "fair_ard", "absld", "peeraid", "mtard", "b_mtard", "ciard", "lbgat", "ikl_at", "liet"]
OPTIONS = ["--trainer.limit_train_batches=1.0", "--data.init_args.val_size=1300", "--trainer.max_epochs=3"]


class Hit(Order):
    """A signal to this process in the middle of a step, once."""

    def on_before_optimizer_step(self, trainer, *_):
        if (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.fault(1, 2, 4)
@pytest.mark.parametrize("recipe", WITH_STATE)
def test_objectives_with_state_resume_exactly(fit, tmp_path, recipe, observed):
    alone = fit(tmp_path / "alone", recipe, *OPTIONS, callbacks=[order := Order()]).model
    with pytest.raises(SystemExit) as stopped:
        fit(tmp_path / "run", recipe, *OPTIONS, callbacks=[Hit()])
    assert stopped.value.code == 143
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 5
    killed(fit, tmp_path / "run", recipe, *OPTIONS, "--resume=auto", kill=(2, 0))
    resumed = fit(tmp_path / "run", recipe, *OPTIONS, "--resume=auto", callbacks=[again := Order()]).model
    assert again.seen == {key: labels for key, labels in order.seen.items() if key[0] == 2}
    assert differences(alone.state_dict(), resumed.state_dict()) == []
    assert any(name.startswith("objective.") for name in alone.state_dict())
    assert differences(states(tmp_path / "alone"), states(tmp_path / "run")) == []
    assert timeless(tmp_path / "alone") == timeless(tmp_path / "run")
    observed(f"{recipe}: SIGTERM inside an epoch, killed between two: bit-identical, with the objective's state")
