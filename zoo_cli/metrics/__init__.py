"""One file a transferability metric: arrays in, a float out. Higher is better everywhere."""
