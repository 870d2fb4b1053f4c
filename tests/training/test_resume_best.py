"""The best checkpoint and the one before the last, over resumes: whose they are, and that they stay."""

import pytest
import torch
from test_resume_auto import OPTIONS

from ard.artifacts.weights import card_of


def score_2(file):
    """As if the best epoch had got a score that no later one can reach."""
    content = torch.load(file, weights_only=True)
    state = next(state for key, state in content["callbacks"].items() if "monitor': 'val" in key)
    state.update(best_model_score=torch.tensor(2.0), best_k_models={state["best_model_path"]: torch.tensor(2.0)})
    state.update(kth_value=torch.tensor(2.0), is_above_chance=True)
    torch.save(content, file)
    file.with_name(f"{file.name}.sha256").unlink()


@pytest.mark.parametrize("best", ["of another run", "damaged", "missing"])
def test_a_best_checkpoint_that_is_not_this_runs_is_not_shipped_as_its_best(fit, tmp_path, best):
    """No later epoch reaches the score that last.ckpt tells of, so nothing would ever have replaced that file."""
    fit(tmp_path, "natural", "--trainer.max_epochs=2", *OPTIONS[1:])
    score_2(tmp_path / "last.ckpt")
    if best != "of another run":  # which has another score
        (tmp_path / "best.ckpt").unlink()  # it may be a name of last.ckpt, too
        (tmp_path / "best.ckpt").write_bytes(b"half")
    if best == "missing":
        (tmp_path / "best.ckpt").unlink()
    fit(tmp_path, "natural", *OPTIONS, "--resume=auto")
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == 2
    assert card_of(tmp_path / "student.safetensors").training.epoch == 2


def test_a_run_whose_folder_was_moved_remembers_its_best(fit, tmp_path):
    """Lightning forgets the best score when the folder's name is another one, and overwrites the best checkpoint."""
    epochs = ["--trainer.max_epochs=2", *OPTIONS[1:]]
    fit(tmp_path / "first", "natural", *epochs)
    score_2(tmp_path / "first" / "best.ckpt")
    score_2(tmp_path / "first" / "last.ckpt")
    before = (tmp_path / "first" / "best.ckpt").read_bytes()
    (tmp_path / "first").rename(tmp_path / "second")
    fit(tmp_path / "second", "natural", *OPTIONS, "--resume=auto")
    assert (tmp_path / "second" / "best.ckpt").read_bytes() == before  # nothing is better than 2
