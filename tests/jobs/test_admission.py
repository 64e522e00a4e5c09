from __future__ import annotations

import threading
import time

import pytest

from sabot_sql.engine.request import QueryRequest
from sabot_sql.errors import Cancelled, QueryTimeout
from sabot_sql.jobs.admission import Gate
from sabot_sql.jobs.record import QueryLog, QueryRecord
from sabot_sql.jobs.workers import Alarms, Workers


def test_gate_lets_the_waiting_in_by_their_order() -> None:
    gate, order = Gate(1), []
    gate.enter(threading.Event())

    def visit(i: int) -> None:
        gate.enter(threading.Event())
        order.append(i)
        gate.leave()

    threads = []
    for i in range(5):
        threads.append(threading.Thread(target=visit, args=(i,)))
        threads[-1].start()
        while gate.waiting <= i:
            time.sleep(0.001)
    gate.leave()
    for thread in threads:
        thread.join()
    assert order == list(range(5))
    assert gate.enter(threading.Event()) == 0


def test_waiting_ends_by_cancel_and_by_deadline_without_taking_a_place() -> None:
    gate, cancel = Gate(1), threading.Event()
    gate.enter(cancel)
    threading.Timer(0.05, cancel.set).start()
    with pytest.raises(Cancelled):
        gate.enter(cancel)
    with pytest.raises(QueryTimeout):
        gate.enter(threading.Event(), time.monotonic() + 0.05)
    gate.leave()
    assert gate.enter(threading.Event()) == 0


def test_workers_reuse_idle_threads() -> None:
    workers, seen = Workers("test"), []
    for _ in range(5):
        done = threading.Event()
        workers.run(lambda done=done: (seen.append(threading.get_ident()), done.set()))
        done.wait(1)
        time.sleep(0.02)
    assert len(set(seen)) == 1
    workers.close()


def test_alarms_ring_in_order_of_time() -> None:
    alarms, rang, last = Alarms(), [], threading.Event()
    now = time.monotonic()
    alarms.at(now + 0.06, last.set)
    alarms.at(now + 0.04, lambda: rang.append("b"))
    alarms.at(now + 0.02, lambda: rang.append("a"))
    assert last.wait(1)
    assert rang == ["a", "b"]
    alarms.close()


def test_log_forgets_the_oldest_ended_queries_only() -> None:
    log = QueryLog(capacity=3)
    running = QueryRecord("q_r", QueryRequest("select 1"))
    keyed = QueryRecord("q_k", QueryRequest("select 1"), fingerprint="f")
    for record in (running, keyed):
        log.add(record)
    keyed.finish({})
    for i in range(5):
        record = QueryRecord(f"q_{i}", QueryRequest("select 1"))
        log.add(record)
        record.finish({})
    assert [r.query_id for r in log.newest_first()] == ["q_4", "q_k", "q_r"]
