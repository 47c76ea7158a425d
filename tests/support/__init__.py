"""What several test modules share: studies in all states, made-up points, jobs for workers."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PUBLISHED = REPOSITORY / "tests" / "data" / "published"


def shared_folder(name: str) -> Path:
    """A folder of data beside the repository, not part of it; a test that asks for it is marked `shared`."""
    folder = REPOSITORY.parent / "shared" / "data" / name
    if not folder.is_dir():
        pytest.skip(f"no folder ../shared/data/{name} beside the repository")
    return folder
