"""How certain a score is, and what follows for the choice of sources."""
