"""Studies: teachers, methods and seeds, trained, evaluated and compared."""
