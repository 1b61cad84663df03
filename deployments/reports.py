"""The report server of a cluster: shows the long reports that lie under `RATCHET_REPORT_URL`, read-only. On one machine `ratchet up` serves the folder."""

import argparse
import signal
import sys
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from tasks.errors import StoreError
from tasks.settings import Settings
from tasks.store import Files

KINDS = {"html": "text/html; charset=utf-8", "json": "application/json"}
TEXT = "text/plain; charset=utf-8"


def name_in(path: str) -> str:
    """The file that the path of a request names, or the empty string: a report is never a folder, hidden, or outside the folder of the reports."""
    name = unquote(urlsplit(path).path).removeprefix("/")
    plain = all(part and not part.startswith(".") for part in name.split("/")) and name.isprintable() and "\\" not in name
    return name if plain and name.rpartition(".")[2] in KINDS else ""


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD; no other method has an answer."""

    timeout = 30  # seconds that a silent client may hold its thread
    server_version, sys_version = "ratchet-reports", ""

    def __init__(self, files: Files, *args: object) -> None:
        self.files = files
        super().__init__(*args)  # type: ignore[arg-type]  # what a socketserver hands its handlers

    def do_GET(self) -> None:
        """Show a report, or say that the server is well."""
        self._reply(*self._found())

    def do_HEAD(self) -> None:
        """The same without its body."""
        self._reply(*self._found())

    def _found(self) -> tuple[HTTPStatus, str, bytes]:
        if self.path == "/healthz":
            return HTTPStatus.OK, TEXT, b"ok\n"
        name = name_in(self.path)
        try:
            if name:
                return HTTPStatus.OK, KINDS[name.rpartition(".")[2]], self.files.read(name)
        except FileNotFoundError:
            pass
        except StoreError as err:
            self.log_error("%s", err)
            return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, b"The reports cannot be read now; the log of this server says why.\n"
        return HTTPStatus.NOT_FOUND, TEXT, b"There is no such report. The page of a monitor run links to its own.\n"

    def _reply(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff"}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Probes come every few seconds and are not worth a line."""
        if self.path != "/healthz":
            super().log_request(code, size)


def serve(files: Files, address: tuple[str, int]) -> ThreadingHTTPServer:
    """A server that listens at an address; port 0 is a free one."""
    return ThreadingHTTPServer(address, partial(Handler, files))


def main() -> None:
    """Serve until told to end."""
    settings = Settings()
    parser = argparse.ArgumentParser(prog="python -m deployments.reports", description=__doc__)
    parser.add_argument("--host", default="0.0.0.0", help="address to listen at")  # noqa: S104  # in a pod
    parser.add_argument("--port", type=int, default=settings.reports_port, help="port to listen at")
    found = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # the first process of a container has no default for it
    with serve(Files(settings.report_folder), (found.host, found.port)) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
