"""What several test modules share: studies in all states, made-up points, jobs for workers."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PUBLISHED = REPOSITORY / "tests" / "data" / "published"
SHARED = REPOSITORY.parent / "shared" / "data"
"""Data beside the repository that is not part of it; tests that read it are marked `shared`."""
