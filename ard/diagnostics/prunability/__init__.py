"""How many weights the loss needs."""
