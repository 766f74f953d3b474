"""Weightings, one per file: scores of the sources in, weights that sum to 1 out."""
