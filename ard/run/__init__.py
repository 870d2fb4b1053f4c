"""The files of a run: config, metrics, checkpoints, weights."""
