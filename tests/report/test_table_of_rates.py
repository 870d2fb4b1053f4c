"""scripts/measured_tables.py: which learning rate each fold of a study took."""

import json

import measured_tables
from measured_tables import rates, taken


def test_a_fold_takes_the_best_of_its_own_rates_and_the_lowest_of_equals():
    assert taken({1.0: [0.5, 0.9], 0.1: [0.7, 0.9], 0.3: [0.7, 0.8]}) == [0.1, 0.1]


def test_a_fold_that_has_not_tried_every_rate_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(measured_tables, "RESULTS", tmp_path)
    tried = {(0, 0.1): 0.8, (0, 0.3): 0.9, (1, 0.1): 0.7, (1, 0.3): 0.6, (2, 0.1): 0.1}
    trials = {
        f"tuning/ard/fold{k}/lr-{rate}": {"setting": {"lr": rate}, "accuracy": value} for (k, rate), value in tried.items()
    }
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/tuning.json").write_text(json.dumps(trials))
    assert "| ard | 75.0 (1) | 75.0 (1) |" in rates("mine")
