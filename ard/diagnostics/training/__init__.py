"""Where training ended: a minimum or not, and how far from its start."""
