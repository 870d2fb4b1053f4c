"""How straight the answers are between images."""
