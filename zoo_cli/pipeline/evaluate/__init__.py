"""`zoo evaluate …`: what stored predictions are worth."""
