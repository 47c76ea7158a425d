"""Measurements: tables of users, points of the study."""
