"""A vLLM server's HTTP interface: JSON in and out, a bearer token from the environment, retries with back-off."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.request
from typing import Any

from tasks.study.errors import InputError

TOKEN = "RLSCALE_SERVER_TOKEN"
ATTEMPTS = 6
FIRST_DELAY = 0.5
TIMEOUT = 900.0
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})

CACHE_METRIC = "vllm:cache_config_info{"
LABEL = re.compile(r'(\w+)="([^"]*)"')


class RequestRejected(RuntimeError):
    """The server understood a request and refused it.

    Attributes:
        status: HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server:
    """A server at a URL. Threads may share it."""

    def __init__(self, url: str, first_delay: float | None = None) -> None:
        """Sends nothing yet.

        Args:
            url: with or without `/v1` at its end.
            first_delay: seconds before the second attempt, doubled for each further one; None: `FIRST_DELAY`.

        Raises:
            InputError: not an http(s) URL.
        """
        if not url.startswith(("http://", "https://")):
            raise InputError(f"server {url!r} is not an http:// or https:// URL")
        self.url = url.rstrip("/").removesuffix("/v1")
        self._first_delay = FIRST_DELAY if first_delay is None else first_delay

    def get(self, path: str) -> Any:
        """Returns a resource. Raises as `post`."""
        return self._send(urllib.request.Request(self.url + path))

    def cache_tokens(self) -> int:
        """Tokens that the key-value caches of a vLLM server hold, from its metrics; 0 where it does not tell.

        Raises:
            InputError: the server does not answer.
        """
        try:
            text = self._read(urllib.request.Request(self.url + "/metrics")).decode()
        except RequestRejected:
            return 0
        caches = [dict(LABEL.findall(line)) for line in text.splitlines() if line.startswith(CACHE_METRIC)]
        sizes = [(cache.get("num_gpu_blocks", ""), cache.get("block_size", "")) for cache in caches]
        return sum(int(blocks) * int(size) for blocks, size in sizes if blocks.isdigit() and size.isdigit())

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """Sends a body and returns the answer, None where it is empty.

        Raises:
            InputError: the server does not answer, or does not take the token; the message says what to do.
            RequestRejected: the server refused this request.
        """
        data = json.dumps(body).encode()
        return self._send(urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}))

    def _send(self, request: urllib.request.Request) -> Any:
        text = self._read(request)
        return json.loads(text) if text else None

    def _read(self, request: urllib.request.Request) -> bytes:
        token = os.environ.get(TOKEN)
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self._first_delay * 2 ** (attempt - 1))
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                    text: bytes = answer.read()
                return text
            except urllib.error.HTTPError as error:
                reason = self._reason(error)
            except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
                reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise InputError(
            f"{self.url}: the server did not answer in {ATTEMPTS} attempts ({reason}); "
            "what is finished is kept, run the command again when it is back"
        )

    def _reason(self, error: urllib.error.HTTPError) -> str:
        """Why a request may be tried again; raises where it may not."""
        detail = _detail(error)
        if error.code in (401, 403):
            raise InputError(f"{self.url}: the server did not take the token in {TOKEN} ({detail})") from None
        if error.code not in TRANSIENT:
            raise RequestRejected(error.code, f"{self.url}: {detail}") from None
        return detail


def _detail(error: urllib.error.HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        value = json.loads(text)
        message = value["error"]["message"] if "error" in value else value["message"]
    except (json.JSONDecodeError, KeyError, TypeError):
        message = text[:200]
    return f"HTTP {error.code}: {message}"
