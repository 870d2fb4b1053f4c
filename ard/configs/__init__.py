"""Config files: which there are, reading them, building what they describe."""
