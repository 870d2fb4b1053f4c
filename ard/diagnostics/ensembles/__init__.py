"""What the members of a teacher of several do to each other."""
