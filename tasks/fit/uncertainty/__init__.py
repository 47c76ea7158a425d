"""Intervals: bootstrap over runs and blocks, profile likelihood, small-sample corrections."""
