"""What the stages do: pure functions, and thin Prefect tasks in each stage's `steps.py`."""
