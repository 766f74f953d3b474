"""Heads on stored features and pools of them: arrays in, probabilities of the task's own classes out."""
