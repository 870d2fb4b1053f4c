"""What one perturbation does to all images at once."""
