"""Debian's Chromium, headless, driven by the DevTools protocol: one page at a time, with real mouse and keys."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PROGRAM = shutil.which("chromium")
_START_SECONDS, _ANSWER_SECONDS = 60.0, 60.0


class Browser:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.call("Page.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command and returns its result; events are passed over."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=_ANSWER_SECONDS))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return dict(answer["result"])

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, as JSON has it."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def open(self, page: Path, fragment: str = "", width: int = 1400, dark: bool = False, scripts: bool = True) -> None:
        """Loads a file.

        Args:
            page: the file.
            fragment: of its address, with #.
            width: of the window, CSS pixels.
            dark: whether the reader prefers dark.
            scripts: whether scripts run.
        """
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media="screen", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=page.resolve().as_uri() + fragment)
        deadline = time.monotonic() + _ANSWER_SECONDS
        while self.evaluate("location.protocol + document.readyState") != "file:complete":
            assert time.monotonic() < deadline, f"{page} does not load"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Presses a key in the element that has the focus."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def move(self, x: float, y: float) -> None:
        """Moves the mouse to a place of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def screenshot(self, path: Path) -> None:
        """Writes the whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        data = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Starts Chromium with its profile in an empty folder, and ends it."""
    assert PROGRAM is not None
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run")
    with (folder / "log").open("w") as log:
        command = [PROGRAM, *options, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            with connect(_address(folder / "profile" / "DevToolsActivePort"), max_size=None) as socket:
                yield Browser(socket)
        finally:
            process.terminate()
            process.wait()


def _address(file: Path) -> str:
    """The socket of the first tab."""
    deadline = time.monotonic() + _START_SECONDS
    while not file.is_file() or len(file.read_text().splitlines()) < 2:
        assert time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.05)
    port = int(file.read_text().splitlines()[0])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        tabs = json.loads(answer.read())
    return str(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))
