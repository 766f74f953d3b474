"""Training: the loop, and the folder of a run."""
