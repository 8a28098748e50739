"""The app in a process of its own, as `make space` starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

_APP = Path(__file__).resolve().parents[2] / "space_app" / "app.py"
_START_TIMEOUT_S = 300.0  # it renders its examples first, on whatever else the machine has to do


class SpaceServer:
    """The running app, as a context.

    Args:
        checkpoints: folders, for MODEL_IDS.
        folder: for its log, uploads and examples.
        environment: further variables.
    """

    def __init__(self, checkpoints: Sequence[Path], folder: Path, **environment: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.uploads = folder / "uploads"
        self._log = folder / "log.txt"
        self._environment = {
            **os.environ,
            "MODEL_IDS": ",".join(map(str, checkpoints)),
            "EXAMPLES_FOLDER": str(folder / "examples"),
            "GRADIO_SERVER_PORT": str(port),
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "GRADIO_TEMP_DIR": str(self.uploads),
            "GRADIO_ANALYTICS_ENABLED": "False",
            **environment,
        }

    def __enter__(self) -> SpaceServer:
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(_APP)], env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        end = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/config", timeout=5):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        self.__exit__()
        raise RuntimeError(f"the app did not start:\n{self.log()[-3000:]}")

    def __exit__(self, *_) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """What the app has written so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")
