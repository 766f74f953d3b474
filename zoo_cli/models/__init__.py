"""Model providers, one per file; feature extraction, gradients, students and teachers."""
