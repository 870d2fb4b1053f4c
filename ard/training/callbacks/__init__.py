"""Callbacks of a run: guards that end it early, the files it leaves, signals and ranks."""
