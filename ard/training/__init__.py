"""Training: the step, the engine around it, schedules, checkpoints, and the callbacks of a run."""
