"""What the weights are like, whatever the images."""
