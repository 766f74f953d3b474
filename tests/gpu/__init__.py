"""The first minutes on a card: what to run there, and how to read it."""
