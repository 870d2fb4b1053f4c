"""Pruning: which weights of a trained network become zero; one file a way, in `ways`."""
