"""A small HTTP server that answers range requests, as object stores do, and keeps a record.

It runs in a process of its own: rasterio holds the interpreter while GDAL waits for an answer.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


class Store:
    """A served folder, and what was asked of it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.address = f"http://127.0.0.1:{port}"

    def fail(self, times: int) -> None:
        """Answer so many of the next requests with 503."""
        (self.folder / ".failures").write_text(str(times))

    def forget(self) -> None:
        """Start a new record."""
        (self.folder / ".log").unlink(missing_ok=True)

    @property
    def requests(self) -> list[tuple[int, str]]:
        """Bytes sent and path of each request."""
        lines = (self.folder / ".log").read_text().splitlines()
        return [(int(line.split()[0]), line.split()[1]) for line in lines]

    @property
    def sent(self) -> int:
        """Bytes sent so far."""
        return sum(size for size, _ in self.requests)


@contextmanager
def served(folder: Path) -> Iterator[Store]:
    """Serve a folder while the context lasts."""
    command = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield Store(folder, int(child.stdout.readline()))
        finally:
            child.kill()


class Handler(BaseHTTPRequestHandler):
    """Serves ``folder`` with ranges."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        file = self.folder / urlsplit(self.path).path.lstrip("/")
        counter = self.folder / ".failures"
        left = int(counter.read_text()) if counter.exists() else 0
        if left:
            counter.write_text(str(left - 1))
            self.reply(503, b"busy", with_body)
        elif not file.is_file():
            self.reply(404, b"none", with_body)
        else:
            data = file.read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked is None:
                self.reply(200, data, with_body)
            else:
                first, last = int(asked[1]), min(int(asked[2] or 10**12), len(data) - 1)
                whole = f"bytes {first}-{last}/{len(data)}"
                self.reply(206, data[first : last + 1], with_body, whole)

    def reply(self, code: int, data: bytes, with_body: bool, part: str | None = None) -> None:
        sent = len(data) if with_body else 0
        with (self.folder / ".log").open("a") as log:
            log.write(f"{sent} {self.path}\n")
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        if part:
            self.send_header("Content-Range", part)
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()
