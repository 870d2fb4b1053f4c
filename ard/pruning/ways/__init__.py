"""The ways to prune: each a file whose name begins with that of the way, and a function of the file's name."""
