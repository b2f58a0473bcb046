"""A PostgreSQL server of one's own for tests, in a temporary folder, and a line to it that breaks when it should."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PASSWORD = "s3cret word"


def binary(name: str) -> str | None:
    """Debian keeps the server's programs outside the PATH."""
    there = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"))
    return shutil.which(name) or (there[-1] if there else None)


def why_not() -> str:
    """What is missing on this machine, if anything."""
    from importlib.util import find_spec

    if find_spec("psycopg") is None:
        return "psycopg is not installed (pip install 'expand-nas[postgresql]')"
    return "" if binary("initdb") and binary("postgres") else "no PostgreSQL server is installed (Debian: postgresql)"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _somebody() -> dict[str, object]:
    """The server refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    return {}


class Server:
    """Starts on construction, on a loopback port; `stop` it in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.somebody = folder, free_port(), _somebody()
        self.process: subprocess.Popen[bytes] | None = None
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        if "user" in self.somebody:
            for path in (folder, secret):
                os.chown(path, self.somebody["user"], self.somebody["group"])  # type: ignore[arg-type]
        subprocess.run(
            [str(binary("initdb")), "-D", str(folder / "data"), "-U", "expand", "-A", "scram-sha-256", "--pwfile", str(secret),
             "--no-sync", "--locale=C", "-E", "UTF8"],
            check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120, **self.somebody,  # type: ignore[call-overload]
        )  # fmt: skip
        self.start()

    def start(self) -> None:
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "shared_buffers=16MB")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(binary("postgres")), "-D", str(self.folder / "data"), "-p", str(self.port)]
                + [word for each in settings for word in ("-c", each)],
                cwd=self.folder, stdout=log, stderr=log, **self.somebody,  # type: ignore[call-overload]
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError):
            self.connect("postgres").close()
            return True
        return False

    def connect(self, database: str):
        import psycopg

        where = {"host": "127.0.0.1", "port": self.port, "user": "expand", "password": PASSWORD}
        return psycopg.connect(dbname=database, autocommit=True, **where)

    def create(self, database: str) -> str:
        """An empty database; its URL."""
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    def url(self, database: str, *, port: int | None = None, password: str = PASSWORD) -> str:
        return f"postgresql+psycopg://expand:{password.replace(' ', '%20')}@127.0.0.1:{port or self.port}/{database}"

    def stop(self) -> None:
        """Breaks all connections, as a restart does (the manual's fast shutdown)."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(timeout=60)
            self.process = None

    def restart(self, away: float) -> None:
        self.stop()
        time.sleep(away)
        self.start()


@contextlib.contextmanager
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="expand-postgres-"))
    try:
        running = Server(folder)
        try:
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Line:
    """Passes bytes between the driver and the server. `cut(n)` breaks the connection at the n-th commit from then on: before
    it reaches the server, or after the server has answered, when the answer is lost."""

    def __init__(self, port: int) -> None:
        self.target, self.commits, self.before = port, 0, False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, commit: int, *, before: bool) -> None:
        self.commits, self.before = commit, before

    def _accept(self) -> None:
        while True:
            try:
                driver, _ = self.listener.accept()
            except OSError:  # closed: the test is over
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            lost = threading.Event()
            threading.Thread(target=self._requests, args=(driver, server, lost), daemon=True).start()
            threading.Thread(target=self._answers, args=(driver, server, lost), daemon=True).start()

    def _requests(self, driver: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while content := driver.recv(65536):
                if b"COMMIT" in content and self.commits > 0:
                    self.commits -= 1
                    if self.commits == 0:
                        self.cuts += 1
                        if self.before:
                            break
                        lost.set()
                server.sendall(content)
        for end in (driver, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _answers(self, driver: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while content := server.recv(65536):
                if lost.is_set():
                    break
                driver.sendall(content)
        for end in (driver, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
