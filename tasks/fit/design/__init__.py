"""What to run next: which runs to buy for a forecast, and which of the running ones to stop."""
