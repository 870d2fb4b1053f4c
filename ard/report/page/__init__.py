"""One HTML page for a run and one for a study, from stored files alone: no torch, no request, one file each."""
