"""The evaluate stage: final and initial policies on the held-out set and the benchmarks."""
