"""Held-out error, and whether the published claims hold."""
