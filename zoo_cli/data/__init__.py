"""One file a data source, and what happens to an image before a network sees it."""
