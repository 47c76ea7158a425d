"""Orchestration: one Prefect flow per stage, `study` for all of them, and the command line."""
