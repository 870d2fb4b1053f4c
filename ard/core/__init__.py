"""Errors, files, locks, randomness, statistics: the base of everything else; imports nothing of ard."""
