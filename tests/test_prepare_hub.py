"""Files of hub data sets: pinned, resumed, checked, cached, or put in place by hand."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.prepare.sources import hub_files as hub_module
from tasks.prepare.sources.hub_files import fetch
from tasks.study.errors import InputError

REVISION = "0123456789abcdef0123456789abcdef01234567"
DATA = bytes(range(256)) * 4000
# All that the hub answers; anything else it is asked for, as the library's own lists, is not there.
FILE = f"/datasets/owner/set/resolve/{REVISION}/train.parquet"
TREE = f"/api/datasets/owner/set/tree/{REVISION}"


@dataclass
class Hub:
    """A hub of one file.

    Attributes:
        body: what the file holds.
        etag: what the hub says its checksum is.
        break_after: bytes after which the first transfer is cut off; None: never.
        ranges: the Range headers of all downloads.
    """

    body: bytes = DATA
    etag: str = hashlib.sha256(DATA).hexdigest()
    break_after: int | None = None
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server that answers as the hub does, and huggingface_hub told to ask it."""
    from huggingface_hub import constants

    state = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", state.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", state.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield state
    server.shutdown()
    server.server_close()


def handler(state: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if self.path == FILE:
                self._head(200, len(state.body))
            else:
                self._unknown()

        def do_GET(self) -> None:
            if self.path.partition("?")[0] == TREE:
                self._list()
            elif self.path == FILE:
                self._send()
            else:
                self._unknown()

        def _send(self) -> None:
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
            part = state.body[start:]
            self._head(206 if start else 200, len(part))
            if state.break_after is not None:
                part, state.break_after = part[: state.break_after], None
            self.wfile.write(part)

        def _head(self, code: int, length: int) -> None:
            self.send_response(code)
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("ETag", f'"{state.etag}"')
            self.send_header("Content-Length", str(length))
            if code == 206:
                self.send_header(
                    "Content-Range", f"bytes {len(state.body) - length}-{len(state.body) - 1}/{len(state.body)}"
                )
            self.end_headers()

        def _list(self) -> None:
            body = b'[{"type": "file", "path": "train.parquet", "size": 1, "oid": "0"}]'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _unknown(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keeps the server quiet."""

    return Handler


def test_a_file_is_downloaded_once_and_then_found_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    path = fetch("owner/set", REVISION, "train.parquet", tmp_path)
    assert path == tmp_path / "owner/set" / REVISION / "train.parquet"
    assert path.read_bytes() == DATA
    downloads = len(hub.ranges)
    assert fetch("owner/set", REVISION, "train.parquet", tmp_path) == path
    assert len(hub.ranges) == downloads


def test_a_broken_transfer_is_resumed_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.break_after = 300_000
    assert fetch("owner/set", REVISION, "train.parquet", tmp_path).read_bytes() == DATA
    assert hub.ranges == [None, "bytes=300000-"]


def test_a_download_that_was_killed_is_continued_by_the_next_process(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.break_after = 300_000
    monkeypatch.setattr(hub_module, "ATTEMPTS", 1)
    with pytest.raises(InputError, match=r"cannot download .the transfer ended after 300000 of 1024000 bytes"):
        fetch("owner/set", REVISION, "train.parquet", tmp_path)
    assert fetch("owner/set", REVISION, "train.parquet", tmp_path).read_bytes() == DATA
    assert hub.ranges == [None, "bytes=300000-"]
    assert not list(tmp_path.rglob("*.part"))


def test_a_download_whose_checksum_is_not_the_hubs_is_thrown_away(hub: Hub, tmp_path: Path) -> None:
    hub.etag = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(InputError, match="the download is damaged"):
        fetch("owner/set", REVISION, "train.parquet", tmp_path)
    assert not list(tmp_path.rglob("train.parquet"))


def test_small_files_are_checked_by_gits_checksum(hub: Hub, tmp_path: Path) -> None:
    hub.etag = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest()
    assert fetch("owner/set", REVISION, "train.parquet", tmp_path).read_bytes() == DATA


def test_a_cached_file_that_was_damaged_later_is_noticed(hub: Hub, tmp_path: Path) -> None:
    path = fetch("owner/set", REVISION, "train.parquet", tmp_path)
    path.write_bytes(DATA[:-1])
    with pytest.raises(InputError, match="damaged, its checksum is not the hub's"):
        fetch("owner/set", REVISION, "train.parquet", tmp_path)


def test_a_file_the_data_set_does_not_have_is_answered_with_those_it_has(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"owner/set: no file test.parquet at {REVISION}; it has train.parquet"):
        fetch("owner/set", REVISION, "test.parquet", tmp_path)


def test_without_a_revision_nothing_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="owner/set: no revision is given"):
        fetch("owner/set", None, "train.parquet", tmp_path)
    assert hub.ranges == []


def test_offline_the_error_says_what_to_fetch_and_where_to_put_it_and_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    target = tmp_path / "owner/set" / REVISION / "data/train.parquet"
    with pytest.raises(InputError) as error:
        fetch("owner/set", REVISION, "data/train.parquet", tmp_path)
    message = str(error.value)
    assert f"http://127.0.0.1:9/datasets/owner/set/resolve/{REVISION}/data/train.parquet" in message
    assert f"put it at {target}" in message
    assert "\n" not in message
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"by hand")
    assert fetch("owner/set", REVISION, "data/train.parquet", tmp_path).read_bytes() == b"by hand"
