"""Calls of Python that most people want, each the same as its verb: ard.fit, ard.evaluate, ard.compare."""
