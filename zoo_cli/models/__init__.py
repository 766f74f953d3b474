"""One file a model provider, and where a network's features are taken."""
