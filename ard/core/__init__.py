"""Errors, files, locks, randomness, statistics: what everything else stands on; imports nothing of ard."""
