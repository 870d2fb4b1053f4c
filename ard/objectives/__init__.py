"""Training objectives, one file a method or family; import them by file: ard.objectives.rslad.RSLAD."""
