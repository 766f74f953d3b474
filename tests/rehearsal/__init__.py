"""Training and extraction on a pretended CUDA card, on machines without one."""
