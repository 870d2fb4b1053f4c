"""What can be proved of the answers inside a ball."""
