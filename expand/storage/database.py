"""The database of a record: its URL, opening it, waiting for locks, and one clear line for each of its errors."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shlex
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

from expand.core import signals
from expand.core.errors import ExpandError, UsageError
from expand.storage.facts import Facts

LOCK_WAIT_SECONDS = 60.0  # how long a call waits for a database that is locked or does not answer
SIGNAL_SECONDS = 3.0  # the same after a signal to end
RACE_SECONDS = 20.0  # how long to retry creating tables that other drivers create at the same time
_BUSY_SECONDS = 0.25  # how long SQLite itself waits, before we close connections of ours that may still have its lock
_CONNECTION = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


class Storage(optuna.storages.RDBStorage):
    """Optuna's storage with retries: a call is repeated for LOCK_WAIT_SECONDS if the database is locked or its server does not
    answer. The time counts from the first failure over all calls, so that a driver that has waited in vain does not wait again
    at each of its last writes.

    Every method is one transaction and may be repeated even if its commit succeeded and only the answer was lost: attributes are
    set to the same value, a trial already has the requested state, a new trial is found by the identifier that it got before
    the commit.
    """

    def __init__(self, url: str, **options: Any) -> None:
        from sqlalchemy import event

        self._failing_since: float | None = None
        self._connections: set[Any] = set()
        super().__init__(_as_template(url), engine_kwargs=_engine_options(url), **options)
        event.listen(self.engine, "connect", self._connected)
        event.listen(self.engine, "close", lambda raw, _: self._connections.discard(raw))
        self.engine.dispose()  # every later connection is seen by `_connected`

    def _connected(self, raw: Any, _: object) -> None:
        if self.engine.name == "sqlite":
            self._connections.add(raw)
            raw.execute(f"PRAGMA busy_timeout = {int(1000 * _BUSY_SECONDS)}")
        if self.engine.name == "postgresql":
            with raw.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = {int(1000 * LOCK_WAIT_SECONDS)}")
            raw.commit()

    def patiently(self, method: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Calls `method`, and repeats the call while the database is unavailable.

        Raises:
            StorageInternalError, SQLAlchemyError: it stayed unavailable, or waiting does not help against the error.
        """
        import sqlalchemy.exc

        began, pause, handled = time.monotonic(), 0.1, sys.exception()
        while True:
            try:
                answer = method(*arguments, **keywords)
                self._failing_since = None
                return answer
            except BaseException as error:
                if (interrupt := _interrupt(error, handled)) is not None:
                    _free_cursors(error, handled)
                    self._let_go()
                    raise interrupt from None
                if not isinstance(error, (StorageInternalError, sqlalchemy.exc.SQLAlchemyError)):
                    raise
                if not self._is_away(error):
                    raise
                self._failing_since = self._failing_since or began
                if (signal := signals.noted()) is not None and time.monotonic() - self._failing_since > SIGNAL_SECONDS:
                    raise signal from None
                # PostgreSQL may have waited for a lock already, and the next wait would be as long.
                if time.monotonic() - self._failing_since > 0.9 * LOCK_WAIT_SECONDS:
                    raise
            if self.engine.name == "sqlite":
                self._let_go()  # the lock may belong to a connection that we lost through an interrupt
            time.sleep(pause)
            pause = 0.1 if self.engine.name == "sqlite" else min(2 * pause, 2.0)

    def _is_away(self, error: Exception) -> bool:
        from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        if self.engine.name == "sqlite":
            return isinstance(cause, OperationalError) and "locked" in str(cause)
        lost = isinstance(cause, DBAPIError) and cause.connection_invalidated
        return lost or isinstance(cause, (OperationalError, InterfaceError))

    def _let_go(self) -> None:
        """Closes all connections after an interrupt inside a call. SQLAlchemy may have been stopped before it returned a
        connection, and that connection would keep SQLite's lock against our own next write. Signals reach the main thread
        only; a read in another thread at that moment fails."""
        if threading.current_thread() is not threading.main_thread():
            return
        with contextlib.suppress(Exception):
            self.scoped_session.remove()
        self.scoped_session.registry.clear()  # which a session that cannot be closed keeps it from
        for raw in list(self._connections):
            with contextlib.suppress(Exception):
                raw.rollback()
            with contextlib.suppress(Exception):
                raw.close()
        self._connections.clear()
        self.engine.dispose(close=False)

    def _create_new_trial(self, study_id: int, template_trial: Any = None) -> Any:
        """Replaces Optuna's own method, which retries up to five times: each try waits a minute if SQLite is locked, and creates
        another trial if only the answer to the commit was lost."""
        made: list[int] = []  # identifiers of trials that may or may not have been committed
        self.patiently(self._create_once, study_id, template_trial, made)
        return self.get_trial(made[-1])

    def _create_once(self, study_id: int, template_trial: Any, made: list[int]) -> None:
        from optuna.storages._rdb import models, storage

        with storage._create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
            for trial_id in made:
                found = session.get(models.TrialModel, trial_id)
                if found is not None and found.study_id == study_id:
                    made.append(trial_id)
                    return
            made.append(self._get_prepared_new_trial(study_id, template_trial, session).trial_id)

    def set_trial_state_values(self, trial_id: int, state: Any, values: Any = None) -> bool:
        try:
            return self.patiently(super().set_trial_state_values, trial_id, state, values)
        except UpdateFinishedTrialError:
            ended = self.get_trial(trial_id)
            if (ended.state, ended.values) != (state, values and list(values)):
                raise
            return True


def _interrupt(error: BaseException | None, handled: BaseException | None) -> BaseException | None:
    """The signal's exception behind an error: SQLAlchemy, stopped between two of its own steps, may raise another error on the
    way out. `handled` was there before."""
    while error is not None and error is not handled:
        if not isinstance(error, Exception) or isinstance(error, ExpandError):  # an alarm is one of ours
            return error
        error = error.__cause__ or error.__context__
    return None


def _free_cursors(error: BaseException | None, handled: BaseException | None) -> None:
    """Frees what an interrupted call still holds by its traceback. A cursor among it that has rows left keeps SQLite's lock, even
    after its connection was closed."""
    while error is not None and error is not handled:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _waits(name: str) -> Callable[..., Any]:
    method = getattr(optuna.storages.RDBStorage, name)

    def call(self: Storage, *arguments: Any, **keywords: Any) -> Any:
        return self.patiently(method, self, *arguments, **keywords)

    return call


for _name in (
    "create_new_study", "get_all_studies", "get_study_directions", "get_study_id_from_name", "get_study_name_from_id",
    "get_study_system_attrs", "get_study_user_attrs", "get_trial", "get_trial_id_from_study_id_trial_number", "_get_trials",
    "set_study_system_attr", "set_study_user_attr", "set_trial_system_attr", "set_trial_user_attr",
):  # fmt: skip
    setattr(Storage, _name, _waits(_name))


def open_storage(url: str, *, make_tables: bool) -> Storage:
    """Opens the database at `url` without retries, so that a server that does not answer is reported immediately.

    Raises:
        UsageError: no URL, or the Python package for that kind of database is missing.
        Otherwise what `errors` turns into one line.
    """
    import sqlalchemy.exc

    shown = without_password(url)
    if url.startswith("journal"):
        raise UsageError(
            f"{shown}: a journal file cannot be written again after a torn line; use SQLite, PostgreSQL or MySQL"
        )
    try:
        return _with_tables(url) if make_tables else Storage(url, skip_table_creation=True)
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or "its Python package"
        remedy = (
            "`pip install 'expand-nas[postgresql]'`, and postgresql+psycopg:// in the URL"
            if url.startswith("postgresql")
            else f"`pip install {missing}`"
        )
        raise UsageError(f"--storage {shown}: {missing} is not installed; {remedy}") from None
    except sqlalchemy.exc.ArgumentError as error:
        raise UsageError(f"--storage {shown}: not a database that can be opened here ({error})") from None


def _with_tables(url: str) -> Storage:
    """Creates the tables if there are none; Optuna would also change tables of an older version. Other drivers may create them,
    and Optuna's first rows, at the same time."""
    import sqlalchemy.exc

    races = ("version_info", "already exists", "unique", "no such table", "locked")
    began, cause = time.monotonic(), ""
    while True:
        try:
            if "version_info" in cause:  # no such table
                _make_tables(url)
            return Storage(url, skip_table_creation=True)
        except (sqlalchemy.exc.DBAPIError, StorageInternalError) as error:
            cause = _cause(error).lower()
            if time.monotonic() - began > RACE_SECONDS or not any(words in cause for words in races):
                raise
        time.sleep(random.uniform(0.0, 0.2))  # or those that met once would meet again


def _make_tables(url: str) -> None:
    """In one transaction: a driver that is killed meanwhile leaves none of them. A database with some would count as damaged."""
    import sqlalchemy
    from optuna.storages._rdb import models

    engine = sqlalchemy.create_engine(url, **_engine_options(url))
    with engine.connect() as connection:
        if engine.name == "sqlite":  # whose driver begins none by itself before a table is made
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        models.BaseModel.metadata.create_all(connection)
        connection.commit()
    engine.dispose()


def _as_template(url: str) -> str:
    """Escapes braces in a path, because Optuna formats the URL."""
    return url.replace("{", "{{").replace("}", "}}")


def _engine_options(url: str) -> dict[str, Any]:
    """Engine options: wait for locks, and detect a broken connection."""
    import sqlalchemy.exc

    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": LOCK_WAIT_SECONDS}}
    options: dict[str, Any] = {"pool_pre_ping": True}
    with contextlib.suppress(sqlalchemy.exc.ArgumentError):  # reported when it is opened
        parsed = sqlalchemy.make_url(url)
        if parsed.drivername in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
            ours = _CONNECTION | {"tcp_user_timeout": int(1000 * LOCK_WAIT_SECONDS)}
            options["connect_args"] = {name: value for name, value in ours.items() if name not in parsed.query}
    return options


# --- errors ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def errors(folder: Path, url: str) -> Iterator[None]:
    """Turns errors of the database of the run in `folder` into one clear line.

    Args:
        url: may have a password, which is not shown.
    """
    import sqlalchemy.exc

    shown = without_password(url)
    try:
        yield
    except UpdateFinishedTrialError as error:
        raise ExpandError(
            f"{shown}: another program ended a trial of this run ({error}); run the same command again"
        ) from error
    except (sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, StorageInternalError) as error:
        cause = _cause(error)
        if _is_damage(cause):
            raise damaged(folder, shown, cause) from error
        raise ExpandError(
            f"the record of {folder} in {shown} could not be read or written ({cause}); every recorded trial is kept. "
            f"{_remedy(cause, shown)}, then run the same command again"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise damaged(folder, shown, str(error)) from error
    except RuntimeError as error:
        if "optuna storage upgrade" not in str(error) and "no longer compatible" not in str(error):
            raise
        raise ExpandError(
            f"{shown} was written by another version of Optuna; nothing was changed. Make a copy, then run "
            f"`optuna storage upgrade --storage {shown}`"
        ) from error


def _cause(error: BaseException) -> str:
    """The error of the database's driver in one line."""
    inner = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    text = str(getattr(inner, "orig", None) or inner).strip()
    return text.splitlines()[0].strip() if text else type(inner).__name__


def _is_damage(cause: str) -> bool:
    signs = ("malformed", "not a database", "Could not decode", "enum values", "no such table", 'relation "')
    return any(words in cause for words in signs)


def _remedy(cause: str, shown: str) -> str:
    if shown.startswith("sqlite"):
        return "Free the disk or end the other program"
    if "password" in cause or "authentication" in cause:
        return "Give the right password in EXPAND_STORAGE (the whole URL), PGPASSWORD or ~/.pgpass"
    if "does not exist" in cause:
        return "Create it (`createdb`), or correct the URL"
    return "Make sure that the server runs and is reachable at this address"


def damaged(folder: Path, shown: str, cause: str) -> ExpandError:
    """An error that says what is lost with a database, what remains, and what to do."""
    weights = len(list((folder / "artifacts").glob("*/model.safetensors")))
    checkpoints = len(list((folder / "checkpoints").glob("*/last.pt")))
    kept = f"study.json, the weights of {weights} trials (artifacts/), the checkpoints of {checkpoints} (checkpoints/)"
    own = folder / "optuna.db"
    recover = ""
    if own.exists() and own.stat().st_size:  # not `.recover`: Debian's sqlite3 is built without it
        command = f"sqlite3 {shlex.quote(str(own))} .dump | sed 's/^ROLLBACK.*/COMMIT;/' | sqlite3 recovered.db"
        recover = f", or save what can still be read with `{command}` and put recovered.db in its place"
    return ExpandError(
        f"{shown} is damaged ({cause}): the trials recorded there cannot be read. Still there: {kept}. Nothing was changed. "
        f"Put a copy of the database back{recover}; or give another folder with --out"
    )


def check_whole(folder: Path, path: Path) -> None:
    """Reads all of an SQLite file, which takes a second for some hundred megabytes.

    Raises:
        ExpandError: it is empty, truncated, overwritten, or not a database.
        sqlite3.Error: it cannot be opened.
    """
    if path.stat().st_size == 0:
        raise damaged(folder, str(path), "it is empty")
    address = f"{path.absolute().as_uri()}?mode=rw"
    with contextlib.closing(sqlite3.connect(address, uri=True, timeout=LOCK_WAIT_SECONDS)) as database:
        try:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.DatabaseError as error:
            if not _is_damage(str(error)):
                raise
            found = str(error)
    if found != "ok":
        raise damaged(folder, str(path), found.splitlines()[-1].strip())


# --- where it is -----------------------------------------------------------------------------------------------------


def storage_url(folder: Path, facts: Facts) -> str:
    """The URL of the trials for Optuna and its dashboard, without a password, so that it can be shown."""
    from sqlalchemy import URL

    own = URL.create("sqlite", database=str(folder / "optuna.db"))  # a path may hold ? and %
    shown = facts.storage or own.render_as_string(hide_password=False)
    return without_password(shown)  # runs of earlier versions have it in study.json


def connection_url(folder: Path, facts: Facts, given: str | None = None) -> str:
    """The URL for opening the database, with the password if `given` or EXPAND_STORAGE is this database's URL and has one."""
    shown = storage_url(folder, facts)
    for url in (given, os.environ.get("EXPAND_STORAGE")):
        if url and url != shown and without_password(url) == shown:
            return url
    return facts.storage or shown


def without_password(url: str) -> str:
    """A database's URL without its password, for files and output; a text that is not a URL stays the same."""
    import sqlalchemy.exc
    from sqlalchemy import URL, make_url

    try:
        parsed = make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        return url
    if parsed.password is None and "password" not in parsed.query:
        return url
    bare = URL.create(parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database, parsed.query)
    return bare.difference_update_query(["password"]).render_as_string()
