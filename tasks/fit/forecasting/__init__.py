"""What fitted laws say of unseen sizes, the rest of a run, and a budget."""
