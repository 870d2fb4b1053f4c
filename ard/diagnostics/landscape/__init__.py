"""How the loss changes around the weights, and around the images."""
