"""Duplicates within, and overlap with evaluation sets: MinHash shingles."""
