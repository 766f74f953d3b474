"""What is written for people to look at: the README's tables, the completion scripts."""
