"""What a student has of its teacher, layer by layer and in its answers."""
