"""The tables of SQLStore, and what is said differently to each database. Needs SQLAlchemy."""

from __future__ import annotations

import importlib.util
from typing import Any, Optional, Union

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.functions import FunctionElement

from cloudllm_sync.errors import ConfigurationError

__all__ = ["Now", "leases", "make_engine", "messages", "metadata", "sessions"]

_CONNECT_S = 5
_ANSWER_S = 10
# By name, as URLs leave it out: the module that has to be there, and the driver's name.
_DRIVERS = {
    "postgresql": {"psycopg": "psycopg", "psycopg2": "psycopg2"},
    "mysql": {"pymysql": "pymysql", "MySQLdb": "mysqldb"},
    "mariadb": {"pymysql": "pymysql", "MySQLdb": "mysqldb"},
}
_LIBPQ = {"connect_timeout": _CONNECT_S, "tcp_user_timeout": _ANSWER_S * 1000}
_MYSQL = {"connect_timeout": _CONNECT_S, "read_timeout": _ANSWER_S, "write_timeout": _ANSWER_S}
# That nobody waits for ever, as each driver says it.
_TIMEOUTS: dict[str, dict[str, int]] = {
    "psycopg": _LIBPQ,
    "psycopg2": _LIBPQ,
    "pymysql": _MYSQL,
    "mysqldb": _MYSQL,
    "pysqlite": {"timeout": _ANSWER_S},
}


class _Name(sa.types.TypeDecorator[str]):
    """Text that is the same only if every byte is, and that sorts by code points.

    MySQL's collations for text take `a` for `A`, or `a ` for `a`.
    """

    impl = sa.String(255)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> Any:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.VARBINARY(255))
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.String(255, collation="C"))
        return dialect.type_descriptor(sa.String(255))

    def process_bind_param(
        self, value: Optional[str], dialect: sa.Dialect
    ) -> Union[str, bytes, None]:
        binary = dialect.name in ("mysql", "mariadb")
        return value.encode() if value is not None and binary else value

    def process_result_value(self, value: Union[str, bytes, None], dialect: sa.Dialect) -> Any:
        return value.decode() if isinstance(value, bytes) else value


class Now(FunctionElement[float]):
    """The database's clock: seconds since 1970, UTC, with their fractions."""

    type = sa.Double()
    inherit_cache = True


@compiles(Now, "postgresql")
def _now_postgresql(element: Now, compiler: Any, **options: Any) -> str:
    return "EXTRACT(EPOCH FROM clock_timestamp())"


@compiles(Now, "mysql", "mariadb")
def _now_mysql(element: Now, compiler: Any, **options: Any) -> str:
    return "UNIX_TIMESTAMP(SYSDATE(6))"


@compiles(Now, "sqlite")
def _now_sqlite(element: Now, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


_LONG = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
_KIND: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}
_KIND.update({name.replace("mysql", "mariadb"): value for name, value in _KIND.items()})

metadata = sa.MetaData()
sessions = sa.Table(
    "cloudllm_sessions",
    metadata,
    sa.Column("id", _Name, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("length", sa.BigInteger, nullable=False),
    sa.Column("head", _LONG, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    **_KIND,
)
messages = sa.Table(
    "cloudllm_messages",
    metadata,
    sa.Column("session_id", _Name, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("record", _LONG, nullable=False),
    **_KIND,
)
leases = sa.Table(
    "cloudllm_leases",
    metadata,
    sa.Column("session_id", _Name, primary_key=True),
    sa.Column("owner", _Name, nullable=False),
    sa.Column("ends_at", sa.Double, nullable=False),
    **_KIND,
)


def make_engine(text: str) -> sa.Engine:
    """An engine for a URL, with time-outs, and with a driver that is installed.

    Raises:
        ConfigurationError: No URL of a database.
        ImportError: No driver for it is installed.
    """
    try:
        url = sa.make_url(text.replace("postgres://", "postgresql://", 1))
        if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
            raise ConfigurationError("a database in memory is lost: use MemoryStore()")
        url = _with_driver(url)
        driver = url.get_dialect().driver
        given = {
            name: value
            for name, value in _TIMEOUTS.get(driver, {}).items()
            if name not in url.query
        }
        # A child that is forked must not have the parent's connections to a SQLite file.
        pool: dict[str, Any] = (
            {"poolclass": NullPool} if driver == "pysqlite" else {"pool_timeout": _ANSWER_S}
        )
        return sa.create_engine(url, connect_args=given, hide_parameters=True, **pool)
    except (ArgumentError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
    raise ConfigurationError(
        "no URL of a database: write postgresql://USER:PASSWORD@HOST/NAME or mysql://..."
    )


def _with_driver(url: sa.URL) -> sa.URL:
    """The URL with a driver's name, where it has none: SQLAlchemy's choice may not be there."""
    drivers = _DRIVERS.get(url.drivername)
    if drivers is None:
        return url
    for module, driver in drivers.items():
        if importlib.util.find_spec(module) is not None:
            return url.set(drivername=f"{url.drivername}+{driver}")
    wanted = "psycopg[binary]" if url.drivername == "postgresql" else "PyMySQL"
    raise ImportError(f'no driver for {url.drivername} is installed: pip install "{wanted}"')
