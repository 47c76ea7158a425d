"""Files of hub data sets: pinned, resumed, checked, cached, or put in place by hand.

A file lies at `<data root>/sources/<repository>/<revision>/<file>`, whether it was downloaded or copied there on a
machine without network. Downloads go through huggingface_hub, which resumes a broken transfer; the bytes are then
compared with the hub's own checksum (SHA-256 of large files, git's SHA-1 of small ones), which is kept beside the file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from tasks.errors import InputError
from tasks.store import digest_file, write_text


def fetch(repository: str, revision: str | None, file: str, folder: Path) -> Path:
    """Returns the local copy of one file of a hub data set, downloading it where it is missing.

    Args:
        repository: `owner/name` of the data set.
        revision: the commit.
        file: path inside the repository.
        folder: where sources are kept, `<data root>/sources`.

    Raises:
        InputError: no revision is given, the hub cannot be reached or has no such file, or the bytes are damaged.
    """
    if revision is None:
        raise InputError(
            f"{repository}: no revision is given; set it to the 40-digit commit of the data set to be used"
        )
    place = folder / repository / revision
    target = place / file
    if not target.is_file():
        _download(repository, revision, file, place)
    elif (checksum := _checksum_file(target)).is_file() and not _agrees(target, checksum.read_text().strip()):
        raise InputError(f"{target}: damaged, its checksum is not the hub's; remove it and run `rlscale prepare` again")
    return target


def _download(repository: str, revision: str, file: str, place: Path) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    url = hf_hub_url(repository, file, repo_type="dataset", revision=revision)
    try:
        expected = get_hf_file_metadata(url).etag or ""
        hf_hub_download(repository, file, repo_type="dataset", revision=revision, local_dir=place)
    except EntryNotFoundError as error:
        if not isinstance(error, LocalEntryNotFoundError):
            raise InputError(f"{repository}: no file {file} at {revision}{_files(repository, revision)}") from None
        raise InputError(_unreachable(url, place / file, error)) from None
    except (HfHubHTTPError, OSError, RuntimeError) as error:
        raise InputError(_unreachable(url, place / file, error)) from None
    target = place / file
    if not _agrees(target, expected):
        target.unlink()
        raise InputError(f"{url}: the download is damaged (checksum differs from the hub's); run it again")
    write_text(_checksum_file(target), expected + "\n")


def _files(repository: str, revision: str) -> str:
    """What the data set does have, for the message; nothing where it cannot be listed."""
    from huggingface_hub import list_repo_files
    from huggingface_hub.errors import HfHubHTTPError

    try:
        names = list_repo_files(repository, repo_type="dataset", revision=revision)
    except (HfHubHTTPError, OSError):
        return ""
    return f"; it has {', '.join(names)}"


def _unreachable(url: str, target: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"cannot download ({reason}): fetch {url} on a machine with network and put it at {target}"


def _checksum_file(target: Path) -> Path:
    return target.with_name(target.name + ".etag")


def _agrees(target: Path, etag: str) -> bool:
    """Compares a file with the hub's entity tag: a SHA-256, or the SHA-1 of git's blob."""
    if len(etag) == 64:
        return digest_file(target) == etag
    if len(etag) == 40:
        data = target.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == etag
    return True
