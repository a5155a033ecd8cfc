"""Conversations in a SQL database, beside what an application keeps there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, NoReturn, Optional, TypeVar, Union

from cloudllm_sync.errors import ConfigurationError, StoreError
from cloudllm_sync.session.stores import SessionInfo, StoredSession
from cloudllm_sync.session.stores.changes import Change, Head, RecordStore, hides_what_was_said
from cloudllm_sync.session.stores.names import checked_page, checked_session_id, prefix_end
from cloudllm_sync.session.stores.remote import LostAnswerError, asked_twice, commit
from cloudllm_sync.transport.credentials import hides_arguments, mask_urls
from cloudllm_sync.transport.forks import renew_in_children

if TYPE_CHECKING:
    import sqlalchemy as sa

__all__ = ["SQLStore"]

_Answer = TypeVar("_Answer")

_STATEMENT_MS = 10_000
_WORDS = 200
_MAKING = 5  # processes that make the tables at once disturb each other
# Deadlock and serialization failure; what the database has taken back may be tried again.
_TAKEN_BACK = {"40001", "40P01", 1213, 1205}


class _TakenError(Exception):
    """A row with this key is there already."""


class SQLStore(RecordStore):
    """Keeps conversations in three tables of a database, by SQLAlchemy (2.0 or newer).

    For PostgreSQL (psycopg, psycopg2), MySQL and MariaDB (PyMySQL); SQLite works, but
    `SQLiteStore` is made for it. The tables, `cloudllm_sessions`, `cloudllm_messages` and
    `cloudllm_leases`, are made when they are first used and not there. A lease is timed by the
    database's clock. Where a connection is lost in the middle of a change the store looks whether
    it was made.
    """

    leases_end = True

    @hides_arguments
    def __init__(self, engine: Union[str, sa.Engine]) -> None:
        """Say where; nothing is sent yet.

        Args:
            engine: A URL (`postgresql://`, `mysql://`, `mariadb://`; a driver that is installed
                is found where it names none), for which an engine with time-outs is made, or an
                engine of one's own, which stays open. In a forked child its connections are
                left to the parent.

        Raises:
            ConfigurationError: No URL of a database, or neither of the two.
            ImportError: SQLAlchemy or a driver is not installed.
        """
        self._sa = _module()
        self._own = isinstance(engine, str)
        if isinstance(engine, str):
            engine = _tables().make_engine(engine)
        if not isinstance(engine, self._sa.Engine):
            raise ConfigurationError(f"pass a URL or an Engine, not {type(engine).__name__}")
        self._engine: sa.Engine = engine
        self._made = False  # set once the tables are there; twice looked for is no harm
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child: the connections are the parent's."""
        self._engine.dispose(close=False)

    @hides_what_was_said
    def load(self, session_id: str, *, newest: Optional[int] = None) -> StoredSession:
        """The conversation with its newest messages, None for all; an unknown one is empty."""
        checked_session_id(session_id)
        rows = self._ask(lambda connection: self._rows(connection, session_id, newest))
        if not rows:
            return StoredSession()
        # What belongs to the conversation comes once, with its last message.
        head = Head.from_text(rows[-1].head or "", session_id)
        records = [row.record for row in rows if row.record is not None]
        return head.holds(session_id, records, newest)

    def delete(self, session_id: str) -> None:
        """Forget all of a conversation."""
        checked_session_id(session_id)
        tables = _tables()

        def work(connection: sa.Connection) -> None:
            row = tables.sessions.delete().where(tables.sessions.c.id == session_id)
            connection.execute(row)
            connection.execute(_messages_of(session_id))

        self._ask(work)

    def sessions(
        self, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> tuple[SessionInfo, ...]:
        """The conversations whose names begin so, by name, those that come after `after`."""
        checked_page(prefix, after, limit)
        table = _tables().sessions
        query = self._sa.select(table.c.id, table.c.head, table.c.updated_at)
        query = query.where(table.c.id >= prefix, table.c.id > after)
        end = prefix_end(prefix)
        if end is not None:
            query = query.where(table.c.id < end)
        query = query.order_by(table.c.id).limit(min(limit, 2**31 - 1))
        rows = self._ask(lambda connection: connection.execute(query).all())
        return tuple(Head.from_text(row.head, row.id).info(row.id, row.updated_at) for row in rows)

    def lease(self, session_id: str, owner: str, seconds: float) -> float:
        """Ask to be the only one who works on a conversation for so long."""
        checked_session_id(session_id)
        tables = _tables()
        leases, now = tables.leases, tables.Now()
        given = {"owner": owner, "ends_at": now + seconds}
        free = self._sa.or_(leases.c.owner == owner, leases.c.ends_at <= now)
        take = leases.update().where(leases.c.session_id == session_id, free).values(given)
        make = leases.insert().values(session_id=session_id, **given)
        wait = self._sa.select(leases.c.ends_at - now).where(leases.c.session_id == session_id)
        while True:
            if self._ask(lambda connection: connection.execute(take).rowcount):
                return 0.0
            left = self._ask(lambda connection: connection.execute(wait).scalar())
            if left is not None:
                return max(float(left), 0.001)
            try:
                self._ask(lambda connection: connection.execute(make).rowcount)
            except _TakenError:
                continue  # by somebody else, or by a try whose answer was lost
            return 0.0

    def release(self, session_id: str, owner: str) -> None:
        """Give a lease back."""
        leases = _tables().leases
        mine = (leases.c.session_id == checked_session_id(session_id), leases.c.owner == owner)
        self._ask(lambda connection: connection.execute(leases.delete().where(*mine)).rowcount)

    def close(self) -> None:
        """Close the connections, if they are the store's own."""
        if self._own:
            self._engine.dispose()

    def __repr__(self) -> str:
        return f"SQLStore({self._engine.dialect.name})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("its URL may hold a password: make a SQLStore where it is used")

    def _commit(self, session_id: str, base_version: int, change: Change) -> None:
        checked_session_id(session_id)

        def read() -> Head:
            rows = self._ask(lambda connection: self._rows(connection, session_id, 0))
            return Head.from_text(rows[0].head, session_id) if rows else Head()

        def write(head: Head) -> bool:
            try:
                return self._run(lambda connection: _write(connection, session_id, head, change))
            except _TakenError:
                return False

        commit(session_id, base_version, change, read, write)

    def _rows(self, connection: sa.Connection, session_id: str, newest: Optional[int]) -> Any:
        """The head and the newest records, by one statement: so they belong together."""
        tables, sa = _tables(), self._sa
        session, message = tables.sessions.c, tables.messages.c
        first = 0 if newest is None else session.length - newest
        both = sa.and_(message.session_id == session.id, message.position >= first)
        last = sa.or_(message.position.is_(None), message.position == session.length - 1)
        query = (
            sa.select(sa.case((last, session.head)).label("head"), message.record)
            .select_from(tables.sessions.outerjoin(tables.messages, both))
            .where(session.id == session_id)
            .order_by(message.position)
        )
        return connection.execute(query).all()

    def _ask(self, work: Callable[[sa.Connection], _Answer]) -> _Answer:
        """Do what may well be done twice."""
        return asked_twice(lambda: self._run(work))

    def _run(self, work: Callable[[sa.Connection], _Answer]) -> _Answer:
        """Do something in a transaction.

        Raises:
            _TakenError: A row was there already; nothing was done.
            LostAnswerError: Perhaps it was done.
            StoreError: It was not.
        """
        errors = self._sa.exc
        failure: Exception
        try:
            self._make_tables()
            with self._engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {_STATEMENT_MS}")
                return work(connection)
        except errors.IntegrityError:
            failure = _TakenError()
        except errors.DBAPIError as error:
            words = self._complaint(error.orig or error)
            again = error.connection_invalidated or _code(error.orig) in _TAKEN_BACK
            failure = LostAnswerError(words) if again else StoreError(words)
        except errors.SQLAlchemyError as error:
            failure = StoreError(self._complaint(error))
        # Not from it: it may hold what was to be written, and who may write it.
        raise failure

    def _make_tables(self) -> None:
        if self._made:
            return
        errors = self._sa.exc
        with self._engine.connect() as connection:
            for left in reversed(range(_MAKING)):
                try:
                    with connection.begin():
                        _tables().metadata.create_all(connection)
                    break
                except (errors.IntegrityError, errors.ProgrammingError, errors.OperationalError):
                    if not left:
                        raise
        self._made = True

    def _complaint(self, error: BaseException) -> str:
        words = mask_urls(str(error).split("\n", 1)[0][:_WORDS]) or type(error).__name__
        password = self._engine.url.password
        if password:
            words = words.replace(str(password), "***")
        return f"{self._engine.dialect.name}: {words}"


def _module() -> Any:
    try:
        import sqlalchemy
    except ImportError as error:
        raise ImportError('SQLStore needs SQLAlchemy: pip install "cloudllm-sync[sql]"') from error
    return sqlalchemy


def _tables() -> Any:
    """They are made with SQLAlchemy, which whoever has no SQLStore does not load."""
    from cloudllm_sync.session.stores import sql_tables

    return sql_tables


def _messages_of(session_id: str) -> Any:
    messages = _tables().messages
    return messages.delete().where(messages.c.session_id == session_id)


def _write(connection: sa.Connection, session_id: str, head: Head, change: Change) -> bool:
    """Put this head in the place of the one before, if it is still there."""
    tables = _tables()
    sessions = tables.sessions
    row = {
        "version": head.version,
        "length": head.length,
        "head": head.to_text(),
        "updated_at": tables.Now(),
    }
    if head.version == 1:
        connection.execute(sessions.insert().values(id=session_id, **row))
    else:
        before = (sessions.c.id == session_id, sessions.c.version == head.version - 1)
        if not connection.execute(sessions.update().where(*before).values(row)).rowcount:
            return False
    if change.wipes:
        connection.execute(_messages_of(session_id))
    first = head.length - len(change.records)
    rows = [
        {"session_id": session_id, "position": first + place, "record": record}
        for place, record in enumerate(change.records)
    ]
    if rows:
        connection.execute(tables.messages.insert(), rows)
    return True


def _code(error: Optional[BaseException]) -> object:
    """PostgreSQL's SQLSTATE, or MySQL's number."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state or next(iter(getattr(error, "args", ())), None)
