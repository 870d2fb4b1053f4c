"""Whether images of a class are treated alike, or each for itself."""
