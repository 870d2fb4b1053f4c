"""scripts/measured_tables.py: which learning rate each fold of a study took."""

import json

from measured_tables import rates


def table_of(folder, tried):
    """`tried`: the accuracy by fold and rate of ARD, or by fold, rate and method."""
    runs = {(*key, "ard")[:3]: value for key, value in tried.items()}
    trials = {f"tuning/{of}/fold{k}/lr-{lr}": {"setting": {"lr": lr}, "accuracy": runs[k, lr, of]} for k, lr, of in runs}
    (folder / "tuning.json").write_text(json.dumps(trials))
    return rates(folder)


def test_a_fold_takes_the_best_of_its_own_rates_and_the_lowest_of_equals(tmp_path):
    tried = {(0, 0.1): 0.8, (0, 0.3): 0.9, (1, 0.1): 0.7, (1, 0.3): 0.7}
    assert "| ard | 75.0 (1) | 80.0 (1) |" in table_of(tmp_path, tried)


def test_a_fold_that_has_not_tried_every_rate_does_not_count(tmp_path):
    tried = {(0, 0.1): 0.8, (1, 0.1): 0.7, (1, 0.3): 0.6, (10, 0.1): 0.1, (10, 0.3): 0.2}
    assert "| ard | 40.0 (1) | 40.0 (1) |" in table_of(tmp_path, tried)
    assert "| ard | – | – |" in table_of(tmp_path, {(0, 0.1): 0.8, (1, 0.3): 0.7})


def test_rows_are_over_the_same_folds(tmp_path):
    tried = {(fold, lr): 0.5 + fold / 10 for fold in (0, 1) for lr in (0.1, 0.3)}
    table = table_of(tmp_path, {**tried, (0, 0.1, "kd"): 0.2, (0, 0.3, "kd"): 0.3, (1, 0.1, "kd"): 0.9})
    assert "| ard | 50.0 (1) | 50.0 |" in table
    assert "| kd | 20.0 | 30.0 (1) |" in table
