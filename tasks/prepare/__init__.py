"""Problems: sources, cleaning, difficulty, splits and reuse subsets."""
