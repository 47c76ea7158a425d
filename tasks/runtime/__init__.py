"""Processes and machines: workers, launching, GPU locks, progress, Prefect options, what MLflow is told."""
