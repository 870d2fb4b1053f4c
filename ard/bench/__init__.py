"""Our training step against the released ones, timed on this machine."""
