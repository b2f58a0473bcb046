"""Commands of `expand` in processes forked from one that has imported torch and the rest, so that a start costs 0.1 s of a core
and not 3. Such a process has its own pid, folder, environment and output, and ends as any other: only the imports are shared.

The server is this file as a script, one for each process of pytest. It never computes, so that what it forks may.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
IMPORTED = (
    "torch._dynamo", "fvcore.nn", "optuna", "sqlalchemy.dialects.sqlite", "pandas", "scipy.stats", "av", "PIL.Image",
    "matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg",
    "expand.cli.app", "expand.search.run",
)  # fmt: skip


class Command:
    """`expand` with these arguments, started. What it prints goes to files, so that it never waits for a reader."""

    def __init__(self, *arguments: object, folder: Path, environment: Mapping[str, str]) -> None:
        self.arguments = [str(argument) for argument in arguments]
        self.returncode: int | None = None
        self._out, self._err = (tempfile.NamedTemporaryFile(suffix=".txt") for _ in range(2))  # noqa: SIM115
        reading, writing = os.pipe()
        self._ending = os.fdopen(reading, buffering=1)
        request = json.dumps([["expand", *self.arguments], str(folder), dict(environment)]).encode()
        socket.send_fds(_server(), [request], [self._out.fileno(), self._err.fileno(), writing])
        os.close(writing)
        self.pid = int(self._ending.readline())

    @property
    def stdout(self) -> str:
        return Path(self._out.name).read_text(errors="surrogateescape")

    @property
    def stderr(self) -> str:
        return Path(self._err.name).read_text(errors="surrogateescape")

    def wait(self, timeout: float) -> int:
        """Its exit code, or minus the signal that ended it.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            if not select.select([self._ending], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.arguments, timeout)
            self.returncode = int(self._ending.readline())
            self._ending.close()
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        self.wait(timeout)
        return self.stdout, self.stderr

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait_for(self, words: str, *, seconds: float = 120) -> None:
        """Until it has printed them."""
        until = time.monotonic() + seconds
        while words not in self.stdout:
            if self.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"no '{words}': {self.stdout}{self.stderr}")
            time.sleep(0.02)


@functools.cache
def _server() -> socket.socket:
    """Where to ask for a process. The server ends when this process does."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    subprocess.Popen([sys.executable, __file__], stdin=its, env=os.environ | {"PYTHONPATH": str(ROOT)})
    its.close()
    return ours


def _serve(requests: socket.socket) -> None:
    """Returns in the process of each command; leaves where nobody can ask any more."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    while True:
        request, files, _, _ = socket.recv_fds(requests, 2**20, 3)
        if not request:
            sys.exit()
        if _fork() == 0:
            requests.close()
            return _look_after(request, *files)
        for file in files:
            os.close(file)
        with contextlib.suppress(ChildProcessError):  # those that have ended
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _look_after(request: bytes, out: int, error: int, ending: int) -> None:
    """Starts the command, and says its pid and how it ended. Returns in the command's process."""
    if pid := _fork():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.write(ending, f"{pid}\n".encode())
        os.write(ending, f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())
        os._exit(0)
    os.close(ending)
    for own, file in ((1, out), (2, error)):
        os.dup2(file, own)
        os.close(file)
    sys.argv, folder, environment = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder  # as `python -m expand` has it
    # With --workers 0 it trains with a thread for each of its cores; pytest's other processes need theirs.
    if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and "0" in sys.argv:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker[2:]) % len(cores)]})


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's threads, which wait for work
        return os.fork()


if __name__ == "__main__":
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()
    _serve(socket.socket(fileno=os.dup(0)))
    from expand.cli.app import main

    main()
