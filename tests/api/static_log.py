"""An archive's partition as tlog-tiles has it, served from memory: what Tessera is tried on, good and tampered, without the API."""

import http.server
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "under_fire"))
sys.path.append(str(ROOT / "tests" / "verifier"))

import archive  # noqa: E402
import canonical  # noqa: E402

WIDTH = 256
BEARER = "the key of this test alone"


def tile_name(index):
    """The index in groups of three digits, all but the last with an x before it."""
    groups = [f"{index % 1000:03}"]
    while index := index // 1000:
        groups.insert(0, f"x{index % 1000:03}")
    return "/".join(groups)


def leaves(directory, origin):
    """The leaves' bytes, in order."""
    found = []
    for path in archive.segments(directory):
        found += [leaf for leaf, _ in archive.lines(path) if leaf["origin"] == origin]
    found.sort(key=lambda leaf: leaf["index"])
    assert [leaf["index"] for leaf in found] == list(range(len(found)))
    return [canonical.write(leaf) for leaf in found]


def bundle(entries):
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def checkpoints(directory, origin):
    return sorted((Path(directory) / origin / "checkpoints").iterdir())


def files(directory, origin):
    """What the log would serve at its last archived checkpoint, by path."""
    root = Path(directory) / origin
    newest = checkpoints(directory, origin)[-1]
    found = {"checkpoint": newest.read_bytes()}
    for path in (root / "tile").rglob("*"):
        if path.is_file():
            found[path.relative_to(root).as_posix()] = path.read_bytes()
    entries = leaves(directory, origin)[: int(newest.name)]
    for at in range(0, len(entries), WIDTH):
        some = entries[at : at + WIDTH]
        partial = "" if len(some) == WIDTH else f".p/{len(some)}"
        found[f"tile/entries/{tile_name(at // WIDTH)}{partial}"] = bundle(some)
    return found


class StaticLog:
    """Serves `files` to who has the key, until its block ends."""

    def __init__(self, files):
        log = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = log.files.get(self.path[1:])
                status = 200 if body is not None else 404
                if self.headers["Authorization"] != f"Bearer {BEARER}":
                    status, body = 401, None
                self.send_response(status)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                """A client that has seen enough goes."""

        self.files = files
        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
