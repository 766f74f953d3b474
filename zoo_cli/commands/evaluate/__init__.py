"""`zoo evaluate …`: what stored predictions and scores are worth."""
