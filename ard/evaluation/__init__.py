"""Evaluation: measures the robust accuracy of a model on images in memory, and checks whether that number is sound."""
