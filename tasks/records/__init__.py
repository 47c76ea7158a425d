"""Rows and results that cross stages, typed on both sides, with how each is read and written."""
