"""The catalog: every table by its name, as its files are now."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from sabot_sql.catalog.entries import FileTable, Versions, raised
from sabot_sql.catalog.hive import fold
from sabot_sql.catalog.learning import Activity, Learner
from sabot_sql.catalog.listing import DATABASE_SUFFIXES, READABLE, is_glob, is_hidden, list_sources, split_suffix
from sabot_sql.catalog.memory import is_tabular, write_ipc
from sabot_sql.catalog.put_tables import PutTables
from sabot_sql.catalog.retired import Retired
from sabot_sql.catalog.roots import DatabaseRoot, FolderRoot
from sabot_sql.catalog.sources import Inspector
from sabot_sql.catalog.sources_ipc import describe_arrow
from sabot_sql.catalog.stored_manifest import Manifest, check_name
from sabot_sql.catalog.stored_tables import Mode, StoredTables, table_exists
from sabot_sql.catalog.table import Table
from sabot_sql.catalog.why_skipped import why_skipped
from sabot_sql.errors import ConfigError, NotSupported, PlanError, QueryError, ReadError

DEFAULT_SCHEMA = "main"
SHOWN_TABLES = 5


class Root(Protocol):
    """A place that tables come from."""

    def find(self, key: str) -> Table | None: ...

    def tables(self) -> Any: ...

    def names(self) -> list[str]: ...

    def skipped(self) -> tuple[str, ...]: ...

    def locations(self) -> tuple[str, ...]: ...

    def close(self) -> None: ...


class Single:
    """A root with one table of a given name."""

    def __init__(self, entry: FileTable) -> None:
        self._entry = entry

    def find(self, key: str) -> Table | None:
        return self._entry.table() if fold(self._entry.name) == key else None

    def tables(self) -> list[Table]:
        found = self._entry.table()
        return [] if found is None else [found]

    def names(self) -> list[str]:
        return [self._entry.name]

    def skipped(self) -> tuple[str, ...]:
        return self._entry.state().skipped

    def locations(self) -> tuple[str, ...]:
        return self._entry.locations()

    def close(self) -> None:
        self._entry.close()


class Catalog:
    """Tables by name. Thread-safe; every look-up sees the files as they are at that moment.

    Args:
        data: a folder (each sub-folder and each file is a table), a DuckDB file, a list of folders and files, or a mapping
            of names to what `register` takes; None for no tables.
        scratch_dir: where tables handed over in memory are written; None for a temporary folder that `close` removes.
        name: the catalog's name in three-part table names.
        statistics_file: where learnt statistics are kept (SQLite); None for in memory.
        stored: tables that were put, and can be; tables of `data` go before those of their names.

    Attributes:
        running: `with catalog.running:` around each query; statistics are learnt while there is none.

    Raises:
        ConfigError: a folder or file of `data` does not exist or is of no known format.

    Example:
        >>> import pyarrow as pa
        >>> with Catalog({"t": pa.table({"a": [1, 2]})}) as catalog:
        ...     [str(column.type) for column in catalog.table("main.T").schema]
        ['BIGINT']
    """

    def __init__(
        self,
        data: Any = None,
        *,
        scratch_dir: Path | None = None,
        name: str = "memory",
        statistics_file: Path | None = None,
        stored: StoredTables | None = None,
    ) -> None:
        self.name = name
        self.running = Activity()
        self._retired = Retired()
        self._lock = threading.RLock()
        self._inspector = Inspector()
        self._versions = Versions()
        self._learner = Learner(self._versions, statistics_file, self.running)
        self._scratch_dir = scratch_dir
        self._temporary: str | None = None
        self._roots: list[Root] = []
        self._registered: dict[str, Root] = {}
        self._put: PutTables | None = None
        try:
            if isinstance(data, Mapping):
                for table_name, source in data.items():
                    self.register(table_name, source)
            elif isinstance(data, str | os.PathLike):
                self._roots = [self._root(absolute(data))]
            elif isinstance(data, list | tuple) and all(isinstance(item, str | os.PathLike) for item in data):
                self._roots = [self._root(absolute(item)) for item in data]
                self._refuse_clashes()
            elif data is not None:
                raise ConfigError(
                    f"data= is a {type(data).__name__}",
                    hint='pass a folder, a file, a list of these, or a mapping {"name": path, Arrow table or data frame}',
                )
            self._put = None if stored is None else PutTables(stored, self._inspector, self._versions)
            if self._put is not None:
                self._roots = [*self._roots, self._put.root]
        except BaseException:
            self.close()
            raise

    @property
    def version(self) -> int:
        """A number that is another one after any table was seen to change."""
        return self._versions.current

    def table(self, name: str) -> Table:
        """The table `name`: its own name, ``schema.name`` or ``catalog.schema.name``, in any case.

        Raises:
            PlanError: UNDEFINED_TABLE, with the nearest name as the hint.
            ReadError: FILE_CORRUPT or FILE_MISSING, naming the file.
            NotSupported: the files do not make one table.
        """
        found = self._find(fold(name))
        if found is None:
            return self.resolve(tuple(name.split(".")))
        return found

    def resolve(self, parts: tuple[str, ...]) -> Table:
        """The table that the identifiers `parts` stand for in a statement.

        Raises:
            as `table`.
        """
        keys = [fold(part) for part in parts]
        candidates = [keys]
        if len(keys) > 1 and keys[0] == fold(self.name):
            candidates.append(keys[1:])
        if len(keys) > 1 and keys[-2] == DEFAULT_SCHEMA:
            candidates += [[*found[:-2], found[-1]] for found in candidates if len(found) > 1]
        for found in candidates:
            if (table := self._find(".".join(found))) is not None:
                return table
        raise self._undefined(".".join(parts))

    def tables(self) -> list[Table]:
        """All tables by name; those that cannot be used have their `error` set."""
        found: dict[str, Table] = {}
        for root in self._all_roots():
            for table in root.tables():
                found.setdefault(fold(table.name), table)
        return sorted(map(self._learner.shown, found.values()), key=lambda table: fold(table.name))

    def learn(self, tables: Iterable[Table]) -> None:
        """Have the statistics of `tables` learnt in the background, where they are not known yet; returns at once."""
        self._learner.learn(tables)

    def wait_learned(self, timeout_s: float = 60.0) -> bool:
        """Wait until everything that `learn` was asked for is learnt; whether that is so."""
        return self._learner.wait(timeout_s)

    def register(self, name: str, source: Any, replace: bool = False) -> None:
        """Add a table under `name`.

        Args:
            source: a path, a folder, a pattern, a list of these, an Arrow table or reader, or a data frame (pandas, polars).
                A DuckDB file adds its tables as ``name.table``.

        Raises:
            QueryError: TABLE_EXISTS, unless `replace`.
            ConfigError: the path does not exist or its format is not known.
            NotSupported: a column of the Arrow data has a type that DuckDB does not read.
        """
        if not isinstance(name, str) or not name:
            raise ConfigError("a table needs a name", hint="pass a text that is not empty")
        key = fold(name)
        if not replace and self._is_taken(key):
            raise QueryError(f'table "{name}" exists', code="TABLE_EXISTS", hint="pass replace=True, or unregister it first")
        root = self._source(name, source)
        with self._lock:
            if not replace and key in self._registered:
                root.close()
                raise QueryError(
                    f'table "{name}" exists', code="TABLE_EXISTS", hint="pass replace=True, or unregister it first"
                )
            old = self._registered.get(key)
            self._registered[key] = root
            self._versions.advance()
        if old is not None:
            self._retired.add(old.close)

    def unregister(self, name: str) -> None:
        """Take a registered table out.

        Raises:
            PlanError: there is no such table, or it comes from the data folder.
        """
        with self._lock:
            root = self._registered.pop(fold(name), None)
            if root is not None:
                self._versions.advance()
        if root is not None:
            self._retired.add(root.close)
        elif self._put is not None and self._put.root.store.get(fold(name)) is not None:
            raise PlanError(
                f'table "{name}" was not registered: it is kept in the state folder', hint="DROP it, or DELETE it over HTTP"
            )
        elif self._is_taken(fold(name)):
            raise PlanError(f'table "{name}" was not registered: it comes from data=', hint="remove its files instead")
        else:
            raise self._undefined(name)

    def check_put(self, name: str, mode: Mode) -> PutTables:
        """See whether rows may be put into `name`; what puts them.

        Raises:
            QueryError: as `StoredTables.check`; READ_ONLY, or TABLE_EXISTS to create: the table comes from elsewhere.
            NotSupported: this catalog takes none.
        """
        put = self._takes_tables()
        check_name(name)
        if self._is_foreign(fold(name)):
            raise table_exists(name) if mode == "create" else _read_only(name)
        put.root.store.check(name, mode)
        return put

    def drop(self, name: str) -> None:
        """Take away a table that was put.

        Raises:
            QueryError: NOT_FOUND; READ_ONLY: it comes from elsewhere.
        """
        put = self._takes_tables()
        if put.root.store.get(fold(name)) is None and self._is_foreign(fold(name)):
            raise _read_only(name)
        put.root.store.drop(name)
        self._versions.advance()

    def check_write(self, name: str, mode: Mode) -> StoredTables:
        """As `check_put`, for a statement that writes; what it writes into."""
        return self.check_put(name, mode).root.store

    def stored(self, name: str) -> Manifest | None:
        """What the store has under a name, where no table of other origin goes before it."""
        key = fold(name)
        return None if self._put is None or self._is_foreign(key) else self._put.root.store.get(key)

    def is_foreign(self, name: str) -> bool:
        """Whether a table of this name comes from elsewhere than the store."""
        return self._is_foreign(fold(name))

    @property
    def has_views(self) -> bool:
        """Whether there are any views."""
        return self._put is not None and self._put.root.store.has_views

    def view(self, parts: tuple[str, ...]) -> tuple[str, str] | None:
        """The name and the query of the view that `parts` stand for; None where they stand for something else."""
        if not self.has_views:
            return None
        around = [fold(part) for part in parts[:-1]]
        if around not in ([], [DEFAULT_SCHEMA], [fold(self.name)], [fold(self.name), DEFAULT_SCHEMA]):
            return None
        found = self.stored(parts[-1])
        return None if found is None or not found.view else (found.name, found.view)

    def committed(self) -> None:
        """A statement has changed the store: whoever looks next sees it."""
        self._versions.advance()

    def _takes_tables(self) -> PutTables:
        if self._put is None:
            raise NotSupported("this engine keeps no tables")
        return self._put

    def _is_foreign(self, key: str) -> bool:
        """Whether a table of this name is there that was not put."""
        roots = [root for root in self._roots if self._put is None or root is not self._put.root]
        return key in self._registered or any(key == fold(name) for root in roots for name in root.names())

    def sweep(self, running: Callable[[], Iterable[str]]) -> None:
        """Remove what was written for tables that were replaced or taken out, once no query reads it any more.

        Args:
            running: gives the ids of the queries that run now.
        """
        self._retired.sweep(running)

    def refresh(self) -> int:
        """Look at every table again where its files changed; the version afterwards."""
        self.tables()
        return self.version

    def skipped(self) -> tuple[str, ...]:
        """Files and folders that lie in the data and are not read, and what of DuckDB files statements cannot use, and why."""
        found = dict.fromkeys(path for root in self._all_roots() for path in root.skipped())
        return tuple(f"{path}: {why}" if (why := why_skipped(path)) else path for path in found)

    def locations(self) -> tuple[str, ...]:
        """Folders and files that an engine must be allowed to read; in-memory tables are not among them."""
        return tuple(dict.fromkeys(path for root in self._all_roots() for path in root.locations()))

    def close(self) -> None:
        """Stop learning, remove what was written for in-memory tables, and close DuckDB. May be called twice."""
        self._learner.close()
        if self._put is not None:
            self._put.close()
        with self._lock:
            self._retired.clear()
            for root in self._registered.values():
                root.close()
            self._registered = {}
            self._roots = []
            self._inspector.close()
            if self._temporary is not None:
                shutil.rmtree(self._temporary, ignore_errors=True)
                self._temporary = None

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _all_roots(self) -> list[Root]:
        with self._lock:
            return [*self._registered.values(), *self._roots]

    def _find(self, key: str) -> Table | None:
        root = self._registered.get(key)
        found = None if root is None else root.find(key)
        if found is None:
            # a registered DuckDB file has tables of other names than its own
            candidates = [*self._registered.values(), *self._roots] if "." in key else self._roots
            found = next((table for table in (root.find(key) for root in candidates) if table is not None), None)
        if found is not None and found.error is not None:
            raise raised(found.error)
        return None if found is None else self._learner.shown(found)

    def _is_taken(self, key: str) -> bool:
        return key in self._registered or any(key == fold(name) for root in self._roots for name in root.names())

    def _undefined(self, name: str) -> PlanError:
        """UNDEFINED_TABLE with the nearest name as hint."""
        roots = self._all_roots()
        names = {fold(known): known for root in roots for known in root.names()}
        wanted = [fold(name), fold(name.rpartition(".")[2])]
        near = [found for text in wanted for found in difflib.get_close_matches(text, names, n=1, cutoff=0.6)]
        skipped = [path for root in roots for path in root.skipped()]
        unread = next((text for text in skipped if f": view {fold(name)}: " in fold(text)), None)
        hint = None
        if fold(name) in names:
            inside = next((path for path in skipped if fold(path.split("/")[-2]) == fold(name) and why_skipped(path)), None)
            hint = why_unread(inside) if inside else f"its folder has no files that are read: known are {READABLE}"
        elif unread is not None:
            hint = f"the view is not read: {unread.partition(': view ')[2].partition(': ')[2]}"
        elif near:
            hint = f'did you mean "{names[near[0]]}"?'
        elif path := next((path for path in skipped if stem(path) == fold(name)), None):
            hint = why_unread(path)
        elif not names:
            hint = "the catalog has no tables: name your folder or file, data= in Python, --data on the command line"
        else:
            shown = sorted(names.values())[:SHOWN_TABLES]
            hint = f"tables there are: {', '.join(shown)}{', ...' if len(names) > len(shown) else ''}"
        return PlanError(f'table "{name}" does not exist', code="UNDEFINED_TABLE", hint=hint)

    def _refuse_clashes(self) -> None:
        seen: dict[str, Root] = {}
        for root in self._roots:
            for name in root.names():
                if fold(name) in seen:
                    places = ", ".join((*seen[fold(name)].locations(), *root.locations()))
                    raise ConfigError(f'table "{name}" is in several places of data= ({places})', hint="rename one of them")
                seen[fold(name)] = root

    def _root(self, path: str) -> Root:
        """The tables of a folder or file of `data`."""
        if os.path.isdir(path):
            try:
                return FolderRoot(path, self._inspector, self._versions)
            except PermissionError as error:
                raise ConfigError(f"data folder {path} cannot be read: permission denied") from error
        if not os.path.exists(path):
            raise ConfigError(f"data folder {path} does not exist", hint="create it, or name the folder your tables are in")
        if path.lower().endswith(DATABASE_SUFFIXES):
            return self._database(path)
        return Single(self._files(split_suffix(os.path.basename(path))[0], (path,)))

    def _source(self, name: str, source: Any) -> Root:
        """What `register` was given, as a root."""
        if is_tabular(source):
            return Single(self._in_memory(name, source))
        if isinstance(source, str | os.PathLike):
            path = absolute(source)
            if path.lower().endswith(DATABASE_SUFFIXES) and os.path.isfile(path):
                return self._database(path, prefix=f"{name}.")
            return Single(self._files(name, (path,)))
        if isinstance(source, list | tuple) and source and all(isinstance(item, str | os.PathLike) for item in source):
            return Single(self._files(name, tuple(absolute(item) for item in source)))
        hint = (
            "call .collect() on a lazy frame"
            if hasattr(source, "collect")
            else "pass a path, a list of paths, an Arrow table or a data frame"
        )
        raise ConfigError(f'table "{name}" cannot be made of a {type(source).__name__}', hint=hint)

    def _files(self, name: str, paths: tuple[str, ...]) -> FileTable:
        listing = list_sources(paths)
        for path in listing.missing:
            what = "nothing matches" if is_glob(path) else "there is no"
            raise ConfigError(f'table "{name}": {what} {path}', hint="check the path; it is taken from the current folder")
        for path in listing.files:
            if split_suffix(path)[1] is None:
                raise ConfigError(f'table "{name}": the format of {path} is not known', hint=f"known suffixes: {READABLE}")
        return FileTable(name, paths, self._inspector, self._versions)

    def _database(self, path: str, prefix: str = "") -> DatabaseRoot:
        try:
            return DatabaseRoot(path, self._inspector, self._versions, prefix)
        except ReadError as error:
            raise ConfigError(error.detail, hint=error.hint, engine_message=error.engine_message) from error

    def _in_memory(self, name: str, source: Any) -> FileTable:
        """The table `source` written to the scratch folder."""
        with self._lock:
            if self._scratch_dir is None:
                self._temporary = self._temporary or tempfile.mkdtemp(prefix="sabot-sql-tables-")
            folder = Path(self._scratch_dir or str(self._temporary))
            folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{uuid.uuid4().hex}.arrow"
        write_ipc(name, source, path, lambda schema: describe_arrow(self._inspector, name, schema))
        return FileTable(name, (str(path),), self._inspector, self._versions, location="memory", owned=True)


def _read_only(name: str) -> PlanError:
    return PlanError(
        f'table "{name}" is one that the server was started with, and those are not written',
        code="READ_ONLY",
        hint="put a table of another name",
    )


def absolute(path: str | os.PathLike[str]) -> str:
    """The absolute path, `~` expanded.

    Raises:
        NotSupported: a URL.
    """
    text = os.fspath(path)
    if "://" in text:
        raise NotSupported(f"reading {text} is not built", hint="copy the files to a folder of this machine")
    return os.path.abspath(os.path.expanduser(text))


def why_unread(path: str) -> str:
    """The hint for a table that was looked for in the skipped file at `path`."""
    by_name = "names that begin with . or _ are passed over" if is_hidden(os.path.basename(path)) else f"known are {READABLE}"
    return f"{path} is not read: {why_skipped(path) or by_name}"


def stem(path: str) -> str:
    """The folded file name up to its first dot."""
    return fold(os.path.basename(path).partition(".")[0])
