"""Flips, transfer, ranking quality: what predictions and scores are worth."""
