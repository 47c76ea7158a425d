"""Files of hub data sets: pinned, resumed, checked, cached, or put in place by hand.

A file lies at `<data root>/sources/<repository>/<revision>/<file>`, whether it was downloaded or copied there on a
machine without network. huggingface_hub (which `datasets` downloads with) tells where the bytes are; the transfer is
our own, since the library's forgets a partial file when its process dies. A partial file is continued, by a later
process too; the whole is compared with the hub's checksum (SHA-256 of large files, git's SHA-1 of small ones), which is
kept beside the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from tasks.study.errors import InputError
from tasks.study.manifests import digest_file, write_text

ATTEMPTS = 5
PAUSE = 0.5
TIMEOUT = 30.0
_CHUNK = 1 << 20


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
    target = folder / repository / revision / file
    if not target.is_file():
        _download(repository, revision, file, target)
    elif (checksum := _checksum_file(target)).is_file() and not _agrees(target, checksum.read_text().strip()):
        raise InputError(f"{target}: damaged, its checksum is not the hub's; remove it and run `rlscale prepare` again")
    return target


def _download(repository: str, revision: str, file: str, target: Path) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repository, file, repo_type="dataset", revision=revision)
    try:
        metadata = get_hf_file_metadata(url)
    except EntryNotFoundError:
        raise InputError(f"{repository}: no file {file} at {revision}{_files(repository, revision)}") from None
    except _network_errors() as error:
        raise InputError(_unreachable(url, target, error)) from None
    etag = metadata.etag or ""
    # Large files lie on another host, which gets no token of ours.
    own_host = urlsplit(metadata.location).netloc == urlsplit(url).netloc
    part = target.with_name(f"{target.name}.{etag[:16]}.part")
    try:
        _transfer(metadata.location, build_hf_headers() if own_host else {}, part, metadata.size)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(_unreachable(url, target, error)) from None
    if not _agrees(part, etag):
        part.unlink()
        raise InputError(f"{url}: the download is damaged (checksum differs from the hub's); run it again")
    write_text(_checksum_file(target), etag + "\n")
    os.replace(part, target)


def _transfer(url: str, headers: dict[str, str], part: Path, size: int | None) -> None:
    """Downloads into a partial file, continuing what it holds; tries again a few times where the transfer breaks."""
    part.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if size is None or not part.is_file() or part.stat().st_size < size:
                _continue(url, headers, part)
            if size is None or part.stat().st_size >= size:
                return
            raise ConnectionError(f"the transfer ended after {part.stat().st_size} of {size} bytes")
        except (OSError, http.client.HTTPException):
            if attempt == ATTEMPTS:
                raise
            time.sleep(PAUSE * attempt)


def _continue(url: str, headers: dict[str, str], part: Path) -> None:
    offset = part.stat().st_size if part.is_file() else 0
    if offset:
        headers = headers | {"Range": f"bytes={offset}-"}
    request = urllib.request.Request(url, headers=headers)
    with contextlib.ExitStack() as stack:
        response = stack.enter_context(urllib.request.urlopen(request, timeout=TIMEOUT))
        # A server that does not know ranges starts over, and so does the file.
        file = stack.enter_context(part.open("ab" if response.status == http.HTTPStatus.PARTIAL_CONTENT else "wb"))
        while chunk := response.read1(_CHUNK):
            file.write(chunk)


def _files(repository: str, revision: str) -> str:
    """What the data set does have, for the message; nothing where it cannot be listed."""
    from huggingface_hub import HfApi

    try:
        names = HfApi().list_repo_files(repository, repo_type="dataset", revision=revision)
    except _network_errors():
        return ""
    return f"; it has {', '.join(names)}"


def _network_errors() -> tuple[type[Exception], ...]:
    """OSError and the errors of whichever HTTP library huggingface_hub uses: the bases of its own error."""
    from huggingface_hub.errors import HfHubHTTPError

    bases = [base for base in HfHubHTTPError.__mro__ if issubclass(base, Exception) and base is not Exception]
    return (*bases, RuntimeError)


def _unreachable(url: str, target: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"cannot download ({reason}): fetch {url} on a machine with network and put it at {target}"


def _checksum_file(target: Path) -> Path:
    return target.with_name(target.name + ".etag")


def _agrees(path: Path, etag: str) -> bool:
    """Compares a file with the hub's entity tag: a SHA-256, or the SHA-1 of git's blob."""
    if len(etag) == 64:
        return digest_file(path) == etag
    if len(etag) == 40:
        data = path.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == etag
    return True
