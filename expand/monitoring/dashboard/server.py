"""`expand dashboard`: Optuna's dashboard on one run, on this machine only unless asked otherwise.

The dashboard has no authentication, can delete studies, and answers whatever name it is called by. Here it reads, and takes
notes; everything else that would change the record is refused, because the driver is its only writer.
"""

from __future__ import annotations

import errno
import ipaddress
import re
import signal
import socket
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from expand.core.errors import UsageError
from expand.storage.run_directory import open_for_reading

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
_NOTE = re.compile(r"/api/studies/\d+(/\d+)?/note/?")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # At once on the port of a dashboard that has just ended; one that is being listened on stays refused.
    allow_reuse_address = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None: ...


def show(run: Path, *, host: str, port: int, known: bool, open_browser: bool, say: Callable[[str], None]) -> None:
    """Serves until it is interrupted (SystemExit 130) or terminated (143).

    Args:
        port: 0 is a free one.
        known: the person knows that whoever reaches a host other than loopback can read the run and edit its notes.

    Raises:
        UsageError: no run, an address other than loopback without `known`, an address or port that cannot be had.
    """
    if not is_loopback(host) and not known:
        raise UsageError(
            f"--host {host}: the dashboard asks for no password, so that whoever reaches this address can read the run and "
            "edit its notes; leave --host away to show it on this machine only, or add --i-know"
        )
    server, address = serve(run, host=host, port=port)
    try:
        _announce(server, address, run, open_browser, say)
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)
        server.serve_forever()
    finally:
        server.server_close()


def serve(run: Path, *, host: str, port: int) -> tuple[WSGIServer, str]:
    """A server that listens, and the address of the run's page."""
    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    record = open_for_reading(run)
    app = wsgi(record.dashboard_storage(), artifact_store=FileSystemArtifactStore(run / "artifacts"))
    server = _listen(host, port)
    server.set_app(guarded(app, None if not is_loopback(host) else {"localhost", "127.0.0.1", "::1", host}))
    name = f"[{host}]" if ":" in host else host
    return server, f"http://{name}:{server.server_port}/dashboard/studies/{record.optuna_study._study_id}"


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guarded(app: App, names: set[str] | None) -> App:
    """The dashboard without what changes the record, notes aside. With `names` it answers to these only: else any web page that
    a person looks at could reach it under a name of its own (DNS rebinding)."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        called = urlsplit(f"//{environ.get('HTTP_HOST', '')}").hostname
        if names is not None and called not in names:
            return _refuse(start, f"this dashboard is for {' and '.join(sorted(names))}")
        if method not in ("GET", "HEAD") and not (method == "PUT" and _NOTE.fullmatch(path)):
            return _refuse(
                start, "expand dashboard shows a run and takes notes; only the run's driver changes its record"
            )
        return app(environ, start)

    return answer


def _refuse(start: Callable[..., Any], reason: str) -> list[bytes]:
    import json

    start("403 Forbidden", [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]


def _listen(host: str, port: int) -> WSGIServer:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        kind = type("_Server", (_Server,), {"address_family": family})
        return kind((host, port), _Quiet)
    except socket.gaierror as error:
        raise UsageError(f"--host {host}: no such address ({error.strerror}); give one of this machine's") from None
    except OverflowError:
        raise UsageError(f"--port {port}: 0 to 65535 are allowed; 0, or none, takes a free one") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"--port {port} is in use: give another, or none to take a free one") from None
        raise UsageError(f"--host {host} --port {port}: {error.strerror}; give an address of this machine") from None


def _announce(server: WSGIServer, address: str, run: Path, open_browser: bool, say: Callable[[str], None]) -> None:
    import webbrowser

    say(f"{run}: {address}")
    if not is_loopback(str(server.server_address[0])):
        say("whoever reaches this address can read the run and edit its notes")
    say("Ctrl-C ends it; a search that runs meanwhile goes on")
    if open_browser:
        webbrowser.open(address)


def _stop(number: int, frame: types.FrameType | None) -> None:
    raise SystemExit(128 + number)
