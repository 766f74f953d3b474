"""One file a weighting: scores of the sources in, weights that sum to 1 out."""
