"""Nothing is selected on the test split: no run opens it, and no metric but those of validation can be asked for."""

import pytest
from tiny import user_error

from ard.cli.lightning import resolve_config
from ard.data import Digits


class Closed(Digits):
    """Whoever opens the test split is found out."""

    def test_images(self):
        raise AssertionError("the test split was opened")


@pytest.mark.fault(31)
def test_training_never_opens_the_test_split(fit, tmp_path, observed):
    fit(tmp_path, "ard", "--data=test_selection.Closed", "--data.init_args.batch_size=32")
    assert (tmp_path / "student.safetensors").is_file()
    with pytest.raises(AssertionError, match="was opened"):
        Closed().test_images()
    observed("a test split that raises when it is opened: the run finishes")


@pytest.mark.fault(31)
@pytest.mark.parametrize("monitor", ["test/robust_acc", "train/ce"])
def test_other_monitors_are_refused(command, tmp_path, monitor, observed):
    with user_error("val/robust_acc") as caught:
        resolve_config(command(tmp_path, "pgd_at", f"--model.init_args.training.monitor={monitor}"))
    observed(f"refused: {caught.value}")
