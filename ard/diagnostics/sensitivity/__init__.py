"""How far answers move when pixels do."""
