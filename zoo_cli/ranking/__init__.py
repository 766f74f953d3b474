"""How sure a score is, and what follows for the choice of sources."""
