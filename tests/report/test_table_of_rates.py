"""scripts/measured_tables.py: which learning rate each fold of a study took."""

import json

from measured_tables import rates


def table_of(folder, tried):
    trials = {f"tuning/ard/fold{k}/lr-{lr}": {"setting": {"lr": lr}, "accuracy": value} for (k, lr), value in tried.items()}
    (folder / "tuning.json").write_text(json.dumps(trials))
    return rates(folder)


def test_a_fold_takes_the_best_of_its_own_rates_and_the_lowest_of_equals(tmp_path):
    tried = {(0, 0.1): 0.8, (0, 0.3): 0.9, (1, 0.1): 0.7, (1, 0.3): 0.7}
    assert "| ard | 75.0 (1) | 80.0 (1) |" in table_of(tmp_path, tried)


def test_a_fold_that_has_not_tried_every_rate_does_not_count(tmp_path):
    tried = {(0, 0.1): 0.8, (1, 0.1): 0.7, (1, 0.3): 0.6, (10, 0.1): 0.1, (10, 0.3): 0.2}
    assert "| ard | 40.0 (1) | 40.0 (1) |" in table_of(tmp_path, tried)
    assert "| ard | – | – |" in table_of(tmp_path, {(0, 0.1): 0.8, (1, 0.3): 0.7})
