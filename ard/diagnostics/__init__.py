"""Diagnostics: what a network is like inside, beside its robust accuracy; a folder a group, a file a diagnostic."""
