from sabot_sql.agents.messages import TaskDone, TaskFailed
from sabot_sql.agents.scheduler import (
    AgentDown,
    AgentDraining,
    AgentSuspect,
    AgentUp,
    DeployTasks,
    Fail,
    Finish,
    StageScheduler,
    TaskEnded,
)
from sabot_sql.errors import AgentLost, PlanError, ReadError
from sabot_sql.executor.exchange import BlockFile
from sabot_sql.executor.task import TaskResult

TWO = {"a": "a1", "b": "b1"}


def done(index: int, attempt: int = 1) -> TaskDone:
    return TaskDone(index, attempt, TaskResult(BlockFile("job", 0, index, attempt, "a", "host", "", "", ()), (), 0))


def ended(agent: str, incarnation: str, index: int, attempt: int = 1) -> TaskEnded:
    return TaskEnded(agent, incarnation, done(index, attempt))


def test_tasks_are_spread_evenly_with_one_deployment_an_agent() -> None:
    assert StageScheduler(range(5), TWO).start() == [
        DeployTasks("a", "a1", ((0, 1), (2, 1), (4, 1))),
        DeployTasks("b", "b1", ((1, 1), (3, 1))),
    ]


def test_stages_of_one_task_meet_different_agents() -> None:
    assert StageScheduler(range(1), TWO, first_agent=3).start() == [DeployTasks("b", "b1", ((0, 1),))]
    assert StageScheduler(range(1), TWO, first_agent=4).start() == [DeployTasks("a", "a1", ((0, 1),))]
    # splits of a stage that has a task for every agent meet the same ones in every stage
    assert StageScheduler(range(2), TWO, first_agent=3).start() == StageScheduler(range(2), TWO).start()


def test_the_same_task_meets_the_same_agent_whatever_order_the_agents_are_given_in() -> None:
    assert StageScheduler(range(3), dict(reversed(TWO.items()))).start() == StageScheduler(range(3), TWO).start()


def test_results_come_in_the_order_of_the_tasks() -> None:
    stage = StageScheduler(range(2), TWO)
    stage.start()
    assert stage.handle(ended("b", "b1", 1)) == []
    assert stage.handle(ended("a", "a1", 0)) == [Finish((done(0), done(1)))]


def test_a_stage_without_tasks_is_done_at_once() -> None:
    assert StageScheduler((), TWO).start() == [Finish(())]


def test_unfinished_tasks_of_a_dead_agent_run_elsewhere_as_a_new_attempt() -> None:
    stage = StageScheduler(range(4), TWO)
    stage.start()
    stage.handle(ended("b", "b1", 1))
    assert stage.handle(AgentDown("b", "b1", "killed")) == [DeployTasks("a", "a1", ((3, 2),))]
    assert stage.retries == 1


def test_an_answer_of_a_dead_incarnation_is_dropped() -> None:
    stage = StageScheduler(range(1), {"a": "a1"})
    stage.start()
    stage.handle(AgentDown("a", "a1", "killed"))
    assert stage.handle(AgentUp("a", "a2")) == [DeployTasks("a", "a2", ((0, 2),))]
    assert stage.handle(ended("a", "a1", 0)) == []
    assert stage.handle(ended("a", "a2", 0, attempt=1)) == []
    assert stage.handle(ended("a", "a2", 0, attempt=2)) == [Finish((done(0, 2),))]


def test_lost_tasks_go_to_the_replacement_when_it_is_known_first() -> None:
    stage = StageScheduler(range(2), TWO)
    stage.start()
    stage.handle(AgentUp("a", "a2"))
    assert stage.handle(AgentDown("a", "a1", "killed")) == [DeployTasks("a", "a2", ((0, 2),))]


def test_the_death_of_an_older_incarnation_changes_nothing() -> None:
    stage = StageScheduler(range(1), {"a": "a2"})
    stage.start()
    assert stage.handle(AgentDown("a", "a1", "killed")) == []
    assert stage.handle(ended("a", "a2", 0)) == [Finish((done(0),))]


def test_tasks_wait_while_no_agent_is_there() -> None:
    stage = StageScheduler(range(2), {"a": "a1"})
    stage.start()
    assert stage.handle(AgentDown("a", "a1", "killed")) == []
    assert stage.handle(AgentUp("b", "b1")) == [DeployTasks("b", "b1", ((0, 2), (1, 2)))]


def test_an_agent_that_comes_late_gets_nothing_while_all_tasks_run() -> None:
    stage = StageScheduler(range(2), {"a": "a1"})
    stage.start()
    assert stage.handle(AgentUp("b", "b1")) == []


def test_a_task_lost_three_times_fails_the_stage_naming_the_agent() -> None:
    stage = StageScheduler(range(1), {"a": "a1"})
    stage.start()
    for attempt in (1, 2):
        stage.handle(AgentDown("a", f"a{attempt}", "killed by SIGSEGV"))
        stage.handle(AgentUp("a", f"a{attempt + 1}"))
    (fail,) = stage.handle(AgentDown("a", "a3", "killed by SIGSEGV"))
    assert isinstance(fail, Fail)
    assert isinstance(fail.error, AgentLost)
    assert fail.error.retryable
    assert "agent a was lost: killed by SIGSEGV; task 0 was lost 3 times" in fail.error.detail


def test_a_failed_task_fails_the_stage_with_its_own_error_and_is_not_retried() -> None:
    stage = StageScheduler(range(2), TWO)
    stage.start()
    error = PlanError("cannot cast 'x' to INTEGER", code="TYPE_MISMATCH", hint="try_cast")
    (fail,) = stage.handle(TaskEnded("a", "a1", TaskFailed(0, 1, error.to_problem())))
    assert isinstance(fail, Fail)
    assert fail.error.to_problem() == error.to_problem()
    assert stage.handle(ended("b", "b1", 1)) == []


def test_a_task_that_could_not_read_from_a_lost_agent_is_retried() -> None:
    stage = StageScheduler(range(1), TWO)
    stage.start()
    problem = AgentLost("agent b could not be reached").to_problem()
    assert stage.handle(TaskEnded("a", "a1", TaskFailed(0, 1, problem))) == [DeployTasks("b", "b1", ((0, 2),))]


def test_an_unreadable_block_is_not_retried() -> None:
    stage = StageScheduler(range(1), TWO)
    stage.start()
    problem = ReadError("block 0-0-1 of job j is missing", code="FILE_MISSING").to_problem()
    (fail,) = stage.handle(TaskEnded("a", "a1", TaskFailed(0, 1, problem)))
    assert isinstance(fail, Fail)
    assert isinstance(fail.error, ReadError)


def test_attempts_begin_where_the_caller_says() -> None:
    stage = StageScheduler(range(1), {"a": "a1"}, first_attempt=4)
    assert stage.start() == [DeployTasks("a", "a1", ((0, 4),))]
    assert stage.handle(AgentDown("a", "a1", "killed")) == []
    assert stage.handle(AgentUp("a", "a2")) == [DeployTasks("a", "a2", ((0, 5),))]
    assert stage.retries == 1


def test_a_slow_task_gets_one_copy_on_an_idle_agent_and_the_first_answer_counts() -> None:
    stage = StageScheduler(range(4), TWO)
    stage.start(0.0)
    for index, now_s in ((0, 3.0), (2, 6.0), (1, 3.0)):
        stage.handle(ended("ab"[index % 2], f"{'ab'[index % 2]}1", index), now_s)
    assert stage.speculate(5.9) == []  # not twice the usual three seconds yet
    assert stage.speculate(6.1) == [DeployTasks("a", "a1", ((3, 2),))]
    assert stage.speculate(9.0) == []
    late = ended("b", "b1", 3)
    assert stage.accepts(late)
    assert stage.handle(ended("a", "a1", 3, 2), 7.0) == [Finish((done(0), done(1), done(2), done(3, 2)))]
    assert not stage.accepts(late)
    assert stage.handle(late, 4.0) == []


def test_no_copy_without_an_idle_agent_or_before_half_of_the_tasks_is_done() -> None:
    stage = StageScheduler(range(4), TWO)
    stage.start(0.0)
    stage.handle(ended("a", "a1", 0), 1.0)
    assert stage.speculate(60.0) == []
    stage.handle(ended("b", "b1", 1), 1.0)
    assert stage.speculate(60.0) == []  # both agents are busy


def test_the_tasks_of_a_silent_agent_get_copies_at_once() -> None:
    stage = StageScheduler(range(1), TWO)
    stage.start(0.0)
    assert stage.handle(AgentSuspect("a", "a1"), 3.0) == [DeployTasks("b", "b1", ((0, 2),))]
    assert stage.handle(AgentUp("a", "a1"), 4.0) == []
    assert stage.handle(ended("a", "a1", 0), 5.0) == [Finish((done(0),))]


def test_a_lost_agent_whose_task_has_a_copy_costs_nothing() -> None:
    stage = StageScheduler(range(1), TWO)
    stage.start(0.0)
    stage.handle(AgentSuspect("a", "a1"), 3.0)
    assert stage.handle(AgentDown("a", "a1", "silent"), 10.0) == []
    assert stage.handle(AgentDown("b", "b1", "killed"), 11.0) == []
    assert stage.handle(AgentUp("c", "c1"), 12.0) == [DeployTasks("c", "c1", ((0, 3),))]


def test_without_retries_there_are_no_copies() -> None:
    stage = StageScheduler(range(1), TWO, max_attempts=1)
    stage.start(0.0)
    assert stage.handle(AgentSuspect("a", "a1"), 3.0) == []


def test_a_draining_agent_keeps_its_tasks_and_gets_no_more() -> None:
    stage = StageScheduler(range(2), TWO)
    stage.start()
    assert stage.handle(AgentDraining("a", "a1")) == []
    assert stage.handle(AgentDown("b", "b1", "killed")) == []
    assert stage.handle(AgentUp("c", "c1")) == [DeployTasks("c", "c1", ((1, 2),))]
    stage.handle(ended("a", "a1", 0))
    assert stage.handle(ended("c", "c1", 1, 2)) == [Finish((done(0), done(1, 2)))]


def test_agents_with_more_slots_get_more_tasks() -> None:
    assert StageScheduler(range(6), TWO, slots={"a": 2, "b": 1}).start() == [
        DeployTasks("a", "a1", ((0, 1), (2, 1), (3, 1), (5, 1))),
        DeployTasks("b", "b1", ((1, 1), (4, 1))),
    ]


def test_a_task_that_was_lost_goes_to_another_agent() -> None:
    stage = StageScheduler(range(1), {"a": "a1", "b": "b1", "c": "c1"})
    stage.start()
    problem = AgentLost("agent x could not be reached").to_problem()
    assert stage.handle(TaskEnded("a", "a1", TaskFailed(0, 1, problem))) == [DeployTasks("b", "b1", ((0, 2),))]
    assert stage.handle(TaskEnded("b", "b1", TaskFailed(0, 2, problem))) == [DeployTasks("c", "c1", ((0, 3),))]


def test_what_may_pass_is_tried_again_and_is_the_error_in_the_end() -> None:
    stage = StageScheduler(range(1), TWO)
    stage.start()
    problem = ReadError("the file server does not answer", code="EXTERNAL_SOURCE", retryable=True).to_problem()
    assert stage.handle(TaskEnded("a", "a1", TaskFailed(0, 1, problem))) == [DeployTasks("b", "b1", ((0, 2),))]
    assert stage.handle(TaskEnded("b", "b1", TaskFailed(0, 2, problem))) == [DeployTasks("a", "a1", ((0, 3),))]
    (failed,) = stage.handle(TaskEnded("a", "a1", TaskFailed(0, 3, problem)))
    assert isinstance(failed, Fail)
    assert failed.error.detail == "the file server does not answer"
