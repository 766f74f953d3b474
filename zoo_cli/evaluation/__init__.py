"""How good predictions are, what a transfer changed, and how well a metric ranks sources."""
