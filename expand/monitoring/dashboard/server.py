"""`expand dashboard`: Optuna's dashboard for one run, by default for this machine only.

Optuna's dashboard has no authentication, can delete studies, and accepts any host name. This server allows reading and editing
notes only. Everything else that would change the record is refused, because the driver is its only writer.
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
    # Allows the port of a dashboard that has just ended; a port in use is still refused.
    allow_reuse_address = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None: ...


def show(run: Path, *, host: str, port: int, known: bool, open_browser: bool, say: Callable[[str], None]) -> None:
    """Serves until it is interrupted (SystemExit 130) or terminated (143).

    Args:
        port: 0 takes a free one.
        known: the user has confirmed that anyone who reaches a host other than loopback may read the run and edit its notes.

    Raises:
        UsageError: there is no run, the address is not loopback and not `known`, or address or port are not available.
    """
    if not is_loopback(host) and not known:
        raise UsageError(
            f"--host {host}: the dashboard has no password, so anyone who reaches this address can read the run and "
            "edit its notes; omit --host to show it on this machine only, or add --i-know"
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
    """A listening server, and the address of the run's page."""
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
    """The dashboard without requests that change the record, except notes. With `names` it answers only to these host names:
    otherwise any web page open in the user's browser could reach it under its own name (DNS rebinding)."""

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
        raise UsageError(f"--port {port}: allowed are 0 to 65535; 0, or no --port, takes a free one") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"--port {port} is in use: give another one, or omit --port to take a free one") from None
        raise UsageError(f"--host {host} --port {port}: {error.strerror}; give an address of this machine") from None


def _announce(server: WSGIServer, address: str, run: Path, open_browser: bool, say: Callable[[str], None]) -> None:
    import webbrowser

    say(f"{run}: {address}")
    if not is_loopback(str(server.server_address[0])):
        say("anyone who reaches this address can read the run and edit its notes")
    say("Ctrl-C ends the dashboard; it does not stop a running search")
    if open_browser:
        webbrowser.open(address)


def _stop(number: int, frame: types.FrameType | None) -> None:
    raise SystemExit(128 + number)
