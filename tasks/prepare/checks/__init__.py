"""Which rows are refused, and why."""
