"""The job database and the process's one DBOS on it.

A job is a workflow whose id is the query id; a stage is a step. There is one DBOS in a process, so all managers share it: it
runs on the durable state folder if one is open, else on the temporary one, and is launched by whoever needs it first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sabot_sql.errors import ConfigError, ServiceError
from sabot_sql.jobs.batches import Batch
from sabot_sql.jobs.database import away
from sabot_sql.jobs.folder import StateFolder
from sabot_sql.jobs.ledger import Ledger
from sabot_sql.jobs.record import QueryLog
from sabot_sql.jobs.recording import JobFailed, JobInterrupted, Output, Recording, Steps

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sabot_sql.jobs.servers import Servers

T = TypeVar("T")

WORKFLOW, BATCH = "sabot-sql-job", "sabot-sql-batch"
EXECUTOR = "sabot-sql"
VERSION = "plan-v6"
MAX_RECOVERIES = 10
SWITCH_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 10.0


class JobOwner(Protocol):
    """Whose jobs are recorded (the manager)."""

    log: QueryLog

    def resume(self, query_id: str, spec: Output) -> Steps:
        """Go on with a job of an earlier process."""
        ...

    def resume_batch(self, batch_id: str, spec: Output) -> Batch:
        """Go on with a batch of an earlier process."""
        ...

    def cancelled(self, query_id: str) -> None:
        """Another server has cancelled a job or a batch that runs here."""
        ...

    def unrecorded(self, query_id: str, why: Exception) -> None:
        """A job of an earlier process that went on here could not be written down, and does not go on."""
        ...


class JobStore:
    """The job database of this process. Thread-safe."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as a forked child must: DBOS's threads stayed in the parent."""
        self._changed = threading.Condition()
        self._users: dict[StateFolder, list[JobOwner]] = {}
        self._current: StateFolder | None = None
        self._engine: sa.Engine | None = None
        self._servers: Servers | None = None
        self._resumed: set[str] = set()
        self._active = 0
        self._given_up: dict[str, StateFolder] = {}
        self._recordings: dict[str, Recording] = {}
        self._batches: dict[str, Batch] = {}
        self._workflow: Callable[[Output], Output] | None = None
        self._batch_workflow: Callable[[Output], Output] | None = None

    def register(self, folder: StateFolder, user: JobOwner) -> None:
        """Use the database in `folder`.

        Raises:
            ConfigError: the process has another durable one.
        """
        with self._changed:
            other = next((f for f in self._users if not f.temporary and f is not folder), None)
            if other is not None and not folder.temporary:
                raise ConfigError(
                    f"this process keeps its jobs in {other.path} and cannot keep others in {folder.path}",
                    hint="close the first connection, or use one state_dir for both",
                )
            self._users.setdefault(folder, []).append(user)

    def unregister(self, folder: StateFolder, user: JobOwner) -> None:
        """End the use; the last user of a folder shuts its database down."""
        with self._changed:
            users = self._users.get(folder, [])
            if user in users:
                users.remove(user)
            if users or folder not in self._users:
                return
            del self._users[folder]
            self._forget_given_up(self._given_up_of(folder))
            if self._current is folder:
                self._changed.wait_for(lambda: self._active == 0, CLOSE_TIMEOUT_S)
            if self._current is folder:  # nobody else switched meanwhile
                self._shut_down()

    def users(self, folder: StateFolder) -> tuple[JobOwner, ...]:
        """Who uses the database in `folder`."""
        return tuple(self._users.get(folder, ()))

    @property
    def launched(self) -> bool:
        """Whether there is a running DBOS of ours."""
        return self._current is not None

    def launch(self, folder: StateFolder) -> None:
        """Launch now what the first job would launch.

        Raises:
            ConfigError: the database cannot be opened, or the process has a DBOS of its own.
        """
        with self._lease(folder):
            return

    def record(self, folder: StateFolder, recording: Recording) -> Exception | None:
        """Run the workflow that writes `recording` down, until its end; returns what went wrong with the writing."""
        try:
            with self._lease(folder):
                self._recordings[recording.query_id] = recording
                self._run(recording)
        except JobFailed:
            return None
        except JobInterrupted as exc:
            return exc.why
        except self._outcomes_of_others():
            return None  # what the database says of the job holds
        except Exception as exc:  # the edge of a thread; whoever waits for the recording gets the error
            return exc
        finally:
            if self._recordings.get(recording.query_id) is recording:
                del self._recordings[recording.query_id]
        return None

    def runs(self, query_id: str) -> bool:
        """Whether this process works on a job or a batch, or has yet to record that it will not."""
        return any(query_id in some for some in (self._recordings, self._batches, self._resumed, self._given_up))

    def give_up(self, folder: StateFolder, query_id: str) -> None:
        """A job that could not be written down has failed, for whoever waited for it: it is cancelled when it can be."""
        self._given_up[query_id] = folder

    def cancel_given_up(self, folder: StateFolder) -> None:
        """Cancel such jobs now."""
        if found := self._given_up_of(folder):
            self.cancel(folder, found)
            self._forget_given_up(found)

    def _given_up_of(self, folder: StateFolder) -> list[str]:
        return [query_id for query_id, of in list(self._given_up.items()) if of is folder]

    def _forget_given_up(self, query_ids: Iterable[str]) -> None:
        for query_id in query_ids:
            self._given_up.pop(query_id, None)

    def record_batch(self, folder: StateFolder, batch: Batch, spec: Output) -> Exception | None:
        """Run the workflow of a batch, until its end; returns what went wrong with the writing."""
        from dbos import SetWorkflowID

        try:
            with self._lease(folder):
                self._batches[batch.batch_id] = batch
                assert self._batch_workflow is not None
                with SetWorkflowID(batch.batch_id):
                    self._batch_workflow(spec)
        except JobInterrupted:
            return None
        except self._outcomes_of_others():
            return None  # what the database says of the batch holds
        except Exception as exc:  # the edge of a thread; whoever submitted the batch gets the error
            return exc
        finally:
            self._batches.pop(batch.batch_id, None)
        return None

    def batch_row(self, folder: StateFolder, batch_id: str) -> Any:
        """A recorded batch as DBOS describes it; None where there is none."""
        from dbos import DBOS

        found = self._call(folder, lambda: DBOS.list_workflows(workflow_ids=[batch_id], name=BATCH))
        return found[0] if found else None

    @staticmethod
    def _outcomes_of_others() -> tuple[type[BaseException], ...]:
        """What DBOS raises for a job that somebody else has ended, in place of this server."""
        from dbos import PortableWorkflowError
        from dbos._error import DBOSAwaitedWorkflowCancelledError  # has no public name

        return (DBOSAwaitedWorkflowCancelledError, PortableWorkflowError)

    def refuse_if_down(self) -> None:
        """Refuse new jobs while the database does not answer: writing one down would wait for it without end.

        Raises:
            ServiceError: SERVICE_ERROR, retryable.
        """
        if self._servers is not None and (down_s := self._servers.down_s):
            raise ServiceError(
                f"the job database has not answered for {down_s:.0f} s, and a distributed query is recorded there",
                retryable=True, hint="try again when it is back; queries that run locally need no database",
            )  # fmt: skip

    @property
    def down_s(self) -> float:
        """For how long a database that servers share has not answered; 0 while it does."""
        return self._servers.down_s if self._servers is not None else 0.0

    def reason(self, folder: StateFolder, query_id: str) -> str | None:
        """Why a job was given up, if servers have done so."""

        def ask() -> str | None:
            return self._servers.reason(query_id) if self._servers is not None else None

        return self._call(folder, ask)

    def rows(
        self,
        folder: StateFolder,
        query_ids: Sequence[str] | None = None,
        status: Sequence[str] | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[Any]:
        """Recorded jobs, newest first, as DBOS describes them."""
        from dbos import DBOS

        ids, states = None if query_ids is None else list(query_ids), None if status is None else list(status)
        return self._call(
            folder,
            lambda: DBOS.list_workflows(
                workflow_ids=ids, status=states, name=WORKFLOW, limit=limit, offset=offset, sort_desc=True
            ),
        )

    def cancel(self, folder: StateFolder, query_ids: Sequence[str]) -> None:
        """Mark jobs that nobody runs as cancelled."""
        from dbos import DBOS

        self._call(folder, lambda: DBOS.cancel_workflows(list(query_ids)))

    def resume(self, folder: StateFolder, query_ids: Sequence[str]) -> None:
        """Have jobs that nobody runs go on in this process."""
        from dbos import DBOS

        self._call(folder, lambda: DBOS.resume_workflows(list(query_ids)))

    def delete_before(self, folder: StateFolder, completed_before: str) -> None:
        """Forget jobs that ended before an ISO 8601 time."""
        from dbos import DBOS

        def delete() -> None:
            names = [WORKFLOW, BATCH]
            old = DBOS.list_workflows(completed_before=completed_before, name=names, load_input=False, load_output=False)
            if old:
                DBOS.delete_workflows([row.workflow_id for row in old])

        self._call(folder, delete)

    def _call(self, folder: StateFolder, call: Callable[[], T]) -> T:
        """What a call to the database gives.

        Raises:
            ServiceError: it did not answer; retryable.
        """
        import sqlalchemy as sa

        def leased() -> T:
            with self._lease(folder):
                try:
                    return call()
                except sa.exc.SQLAlchemyError as exc:
                    raise away(exc, "the job database cannot be asked") from exc

        return off_loop(leased)

    @contextlib.contextmanager
    def _lease(self, folder: StateFolder) -> Iterator[None]:
        """Keeps DBOS running on the right database while inside."""
        with self._changed:
            while self._current is None or self._current is not self._target(folder):
                if self._active == 0:
                    self._shut_down()
                    self._launch(self._target(folder))
                elif not self._changed.wait(SWITCH_TIMEOUT_S):
                    raise ServiceError("the job database is in use by jobs of another state folder; try again later")
            self._active += 1
        try:
            yield
        finally:
            with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def _target(self, folder: StateFolder) -> StateFolder:
        return next((f for f in self._users if not f.temporary), folder)

    def _launch(self, folder: StateFolder) -> None:
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

        quiet = logging.getLogger("dbos")
        if not quiet.handlers:
            quiet.addHandler(logging.NullHandler())  # else DBOS writes to stderr; what it logs goes to the user's handlers
        self._register_workflow()
        database = folder.database
        engine = database.make_engine()
        # one of several has another name each time: its jobs are taken over by whoever finds them, itself too
        executor = f"{EXECUTOR}-{uuid.uuid4().hex[:12]}" if database.shared else EXECUTOR
        config = DBOSConfig(
            name="sabot-sql",
            system_database_url=database.sqlalchemy_url().render_as_string(hide_password=False),
            system_database_engine=engine,
            run_migrations=not database.shared,
            executor_id=executor,
            application_version=VERSION,
            serializer=DBOSPortableJSONSerializer(),
            enable_otlp=False,
            log_level="WARNING",
            notification_listener_polling_interval_sec=0.1,
        )
        servers = self._lease_of(folder, executor) if database.shared else None
        launcher = OwnThread(lambda: self._start_dbos(config, servers))  # a loop of the caller's would become DBOS's
        try:
            launcher.result()
        except ConfigError:
            engine.dispose()
            raise
        except Exception as exc:  # whatever DBOS or the database has to say
            DBOS.destroy()
            engine.dispose()
            if servers is not None:
                servers.leave()
                if (gone := away(exc, f"the job database {database.name} cannot be opened")).retryable:
                    raise gone from exc  # when it was asked first it could
            raise ConfigError(f"the job database {database.name} cannot be opened: {exc}") from exc
        self._current, self._engine, self._servers = folder, engine, servers
        if servers is not None:
            servers.start()

    def _lease_of(self, folder: StateFolder, executor: str) -> Servers:
        """This server among those that share the database of `folder`."""
        from dbos import DBOS

        from sabot_sql.jobs.servers import Servers, Unfinished

        def unfinished() -> list[Unfinished]:
            rows = DBOS.list_workflows(status="PENDING", name=[WORKFLOW, BATCH], load_input=False, load_output=False)
            return [Unfinished(row.workflow_id, row.executor_id or "", row.app_version or "") for row in rows]

        def notice() -> None:
            if not (ids := [*self._recordings, *self._batches, *self._resumed]):
                return
            for row in DBOS.list_workflows(workflow_ids=ids, status="CANCELLED", load_input=False, load_output=False):
                for user in self.users(folder):
                    user.cancelled(row.workflow_id)

        return Servers(
            folder.database, executor, VERSION, folder.lease_s, unfinished, self.runs, DBOS.resume_workflows,
            DBOS.cancel_workflows, notice,
        )  # fmt: skip

    @staticmethod
    def _start_dbos(config: Any, servers: Servers | None) -> None:
        from dbos import DBOS

        if servers is not None:
            servers.enter()
        DBOS(config=config)
        if DBOS.executor_id != config["executor_id"]:  # there was one already: DBOS() returned that
            raise ConfigError(
                "this process has a DBOS of its own, and there can be one only",
                hint="run sabot-sql as a server and connect to it by http://",
            )
        DBOS.launch()

    def _shut_down(self) -> None:
        if self._current is None:
            return
        from dbos import DBOS

        if self._servers is not None:
            self._servers.leave()
        OwnThread(DBOS.destroy).result()
        assert self._engine is not None
        self._engine.dispose()
        self._current = self._engine = self._servers = None

    def _register_workflow(self) -> None:
        if self._workflow is not None:
            return
        from dbos import DBOS

        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=MAX_RECOVERIES)  # type: ignore[untyped-decorator]
        def job(spec: Output) -> Output:
            return self._body(DBOS.workflow_id, spec)

        @DBOS.workflow(name=BATCH, max_recovery_attempts=MAX_RECOVERIES)  # type: ignore[untyped-decorator]
        def batch(spec: Output) -> Output:
            return self._batch_body(DBOS.workflow_id, spec)

        self._workflow, self._batch_workflow = job, batch

    def _run(self, recording: Recording) -> None:
        from dbos import SetWorkflowID

        assert self._workflow is not None
        with SetWorkflowID(recording.query_id):
            self._workflow(recording.spec)

    def _body(self, query_id: str, spec: Output) -> Output:
        """The workflow: a step for each stage or those that ended together; what it returns is the manifest of the result."""
        recording = self._recordings.get(query_id)
        if recording is not None:
            recording.committed()
            with given_up_when_away():
                return write_down(recording, spec)
        with self._resuming(query_id) as user, contextlib.closing(user.resume(query_id, spec)) as steps:
            try:
                with given_up_when_away():
                    return walk(steps, spec)
            except JobInterrupted as exc:
                if exc.why is not None:
                    user.unrecorded(query_id, exc.why)
                raise

    def _batch_body(self, batch_id: str, spec: Output) -> Output:
        """The workflow of a batch: it has no steps, its statements are jobs of their own; it returns their ends."""
        batch = self._batches.get(batch_id)
        if batch is not None:
            return driven(batch)
        with self._resuming(batch_id) as user:
            return driven(user.resume_batch(batch_id, spec))

    @contextlib.contextmanager
    def _resuming(self, workflow_id: str) -> Iterator[JobOwner]:
        """Who goes on with a workflow of an earlier process; keeps DBOS running meanwhile."""
        with self._changed:
            users = self._users.get(self._current) if self._current else None
            if not users:
                raise JobInterrupted
            self._active += 1
            self._resumed.add(workflow_id)
        try:
            yield users[0]
        finally:
            with self._changed:
                self._resumed.discard(workflow_id)
                self._active -= 1
                self._changed.notify_all()


@contextlib.contextmanager
def given_up_when_away() -> Iterator[None]:
    """A step that the database does not take is no error of the job, as which DBOS would record it when the database is back:
    the job is given up, and goes on where its record ends."""
    import sqlalchemy as sa

    try:
        yield
    except sa.exc.SQLAlchemyError as exc:
        raise JobInterrupted(exc) from exc


def driven(batch: Batch) -> Output:
    """Run a batch to its end."""
    batch.accepted.set()
    batch.drive()
    if not batch.ended.is_set():
        raise JobInterrupted
    return batch.outcome()


def write_down(recording: Recording, spec: Output) -> Output:
    """The steps of a job that runs meanwhile, each recorded."""
    from dbos import DBOS

    ledger = Ledger(tuple(spec["stages"]))
    while True:
        output, ends = recording.take()
        if ends:
            return output
        ledger.fold(DBOS.run_step({"name": _name(ledger)}, lambda found=output: found))


def walk(steps: Steps, spec: Output) -> Output:
    """The steps of a job of an earlier process in their order: replayed where they are recorded, and then made and recorded."""
    from dbos import DBOS

    ledger = Ledger(tuple(spec["stages"]))
    while True:
        if ledger.next() is not None:
            ledger.fold(DBOS.run_step({"name": _name(ledger)}, steps.take, ledger))
            continue
        end = steps.end(ledger)
        if "lost" not in end:
            return end
        ledger.fold(DBOS.run_step({"name": _name(ledger)}, lambda lost=end: lost))


def _name(ledger: Ledger) -> str:
    """What the next step of a job is called, which follows from those before it: a replay must meet the same."""
    stage = ledger.next()
    return "lost" if stage is None else f"stage-{stage}"


class OwnThread:
    """Runs one call in a thread of its own and hands its answer over."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sabot-dbos", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as exc:
            self._error = exc

    def result(self) -> Any:
        """The call's answer, or its error."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value


def off_loop(call: Callable[[], T]) -> T:
    """`call()`, in another thread if this one runs an event loop: DBOS's synchronous calls refuse that."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    found: T = OwnThread(call).result()
    return found


STORE = JobStore()
os.register_at_fork(after_in_child=STORE.reset)
