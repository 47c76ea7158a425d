"""Held-out split, curriculum order and reuse subsets."""
