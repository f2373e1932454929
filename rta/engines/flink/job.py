"""A job of Flink: started from its newest state, looked at over REST, stopped with a savepoint."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from rta.engines.contract.description import Description, Session
from rta.engines.flink import cluster
from rta.engines.flink.cluster import Cluster
from rta.engines.flink.gateway import call, cause, log
from rta.engines.flink.state import State
from rta.engines.flink.statements import Wiring, fingerprint, statements
from rta.errors import QueryError, SetupError

_LIVES: Final = ("INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "RECONCILING")
LOST: Final = "LOST"
_LOOK: Final = 0.1  # seconds
_PATIENCE: Final = 120.0  # seconds until a job runs
_NOT_YET: Final = "is not being executed at the moment"  # a task of a job that has just begun
CHECKPOINTS: Final = "1 s"  # so long a result may wait to be visible
_GATHERS: Final = "table.exec.mini-batch.enabled"
SPEED: Final = {
    # A checkpoint flushes what was gathered, and nobody sees a result before it.
    _GATHERS: "true", "table.exec.mini-batch.allow-latency": CHECKPOINTS, "table.exec.mini-batch.size": "100000",
    "pipeline.object-reuse": "true",  # SQL's own operators copy what they keep
}  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """What is started, and started again after Flink has died.

    Args:
        name: The name of the job: that of its results, which no job of somebody else has.
        table: The table.
        statements: What Flink is told; the last one starts the job.
        state: Where its checkpoints and savepoints are.
        parallelism: How many tasks work side by side.
        speed: Flink's properties for its speed.
    """

    name: str
    table: str
    statements: tuple[str, ...]
    state: State
    parallelism: int
    speed: Mapping[str, str] = field(default_factory=dict)


@dataclass
class FlinkJob:
    """A job: see rta.engines.engine_query.Job."""

    id: str
    launch: Launch
    cluster: Cluster
    engine: str = "flink"

    @property
    def native(self) -> str:
        """Its address in Flink's REST API."""
        return f"{self.cluster.rest}/jobs/{self.id}"

    def state(self) -> str:
        """Return Flink's word for its state; LOST if Flink has ended, or does not know it."""
        try:
            return str(call("GET", self.native)["state"])
        except QueryError:
            return LOST

    def active(self) -> bool:
        """Whether it runs, or starts again by itself."""
        return self.state() in _LIVES

    def lost(self) -> bool:
        """Whether Flink has died, and the job with it."""
        return self.state() == LOST

    def start_again(self) -> None:
        """Start the local Flink, or wait for a person's own, and the job from its newest checkpoint unless it runs."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                again = _launched(self.launch)
            except SetupError:
                if self.cluster.ours or time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK)
            else:
                self.id, self.cluster = again.id, again.cluster
                return

    def failure(self) -> str | None:
        """Why it has ended."""
        state = self.state()
        if state == LOST:
            return "Flink has ended" if cluster.status() != self.cluster else "Flink does not know it"  # fmt: skip
        if state != "FAILED":
            return None
        told = call("GET", f"{self.native}/exceptions")["exceptionHistory"]["entries"]
        said = cause(told[0]["stacktrace"] if told else "it does not say why")
        return f"{trouble}; {said}" if (trouble := self.launch.state.trouble()) else said

    def stop(self) -> None:
        """Stop it with a savepoint: its transactions are committed, and the next start goes on there."""
        deadline = time.monotonic() + _PATIENCE
        while failed := self._savepoint(deadline):
            if _NOT_YET not in failed or time.monotonic() > deadline:
                raise QueryError(f"Flink did not stop {self.launch.table!r}", found=cause(failed), fix="stop it again: it goes on from its last checkpoint")  # fmt: skip
            time.sleep(_LOOK)
        self._await_end(deadline)

    def _savepoint(self, deadline: float) -> str | None:
        """Ask for a stop with a savepoint; return the trace of what went wrong, None if nothing did."""
        asked = call("POST", f"{self.native}/stop", {"targetDirectory": self.launch.state.uri, "drain": False})  # fmt: skip
        place = f"{self.native}/savepoints/{asked['request-id']}"
        while (told := call("GET", place))["status"]["id"] != "COMPLETED":
            if time.monotonic() > deadline:
                raise QueryError(f"Flink did not stop {self.launch.table!r} within {_PATIENCE:g} s", fix=f"stop it again; the log is {log()}")  # fmt: skip
            time.sleep(_LOOK)
        failed = told["operation"].get("failure-cause")
        if not failed:
            self.launch.state.stopped(told["operation"]["location"])
        return failed and str(failed["stack-trace"])

    def cancel(self) -> None:
        """End it as it is."""
        call("PATCH", f"{self.native}?mode=cancel")
        self._await_end(time.monotonic() + _PATIENCE)

    def _await_end(self, deadline: float) -> None:
        while self.active() and time.monotonic() < deadline:
            time.sleep(_LOOK)

    def progress(self) -> Mapping[str, Any]:
        """Return its state, its checkpoints, and how often it has started again."""
        with suppress(QueryError):
            done = call("GET", f"{self.native}/checkpoints")
            latest = done.get("latest", {}).get("completed") or {}
            return {"state": self.state(), "checkpoints": done["counts"]["completed"], "stateBytes": latest.get("state_size"), "restarts": done["counts"].get("restored")}  # fmt: skip
        return {"state": self.state()}


def speed(query: Description) -> dict[str, str]:
    """Return Flink's properties for the speed of a query.

    A session is counted event by event: what was gathered comes in no order, and OVER moves all later spans of a key for an earlier one.
    """
    return SPEED | ({_GATHERS: "false"} if isinstance(query.window, Session) else {})


def start(query: Description, wired: Wiring, *, at: Cluster, state: State, table: str, parallelism: int) -> FlinkJob:  # fmt: skip
    """Start a job, or find the one that runs.

    Args:
        query: The query.
        wired: What it reads and writes.
        at: The Flink.
        state: Where its checkpoints and savepoints are.
        table: The table.
        parallelism: How many tasks work side by side.

    Raises:
        QueryError: Flink cannot run it, or the state is that of another query.
    """
    launch = Launch(
        wired.results, table, statements(query, wired), state, parallelism, speed(query)
    )
    known, wanted = state.notes / "query.json", fingerprint(query, wired)
    state.claim(table)
    if known.exists() and known.read_text() != wanted and state.newest(at.rest):
        raise QueryError(f"the state of {table!r} is that of another query", found=state.uri, fix=f"rta.reset({table!r}), and fill it again")  # fmt: skip
    known.write_text(wanted)
    return _launched(launch, at)


def _launched(launch: Launch, at: Cluster | None = None) -> FlinkJob:
    """Start a job from its newest state, or find the one that runs."""
    at, state = at or cluster.up(), launch.state
    if found := running(at, launch):
        return found
    properties = {
        "pipeline.name": launch.name, "table.dml-sync": "false", "parallelism.default": str(launch.parallelism),
        "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": "10", "restart-strategy.fixed-delay.delay": "1 s",
        "state.backend.type": "rocksdb",
        "execution.checkpointing.interval": CHECKPOINTS, "execution.checkpointing.dir": state.uri,
        "execution.checkpointing.savepoint-dir": state.uri, "execution.checkpointing.incremental": "true",
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    } | dict(launch.speed)  # fmt: skip
    if before := state.newest(at.rest):
        properties["execution.state-recovery.path"] = before
    with cluster.opened(at, properties) as session:
        for each in launch.statements[:-1]:
            session.sql(each)
        answer = session.sql(launch.statements[-1])
        job = FlinkJob(str(answer.job or answer.rows[0][0]), launch, at)
        if not at.ours and job.state() == LOST:
            session.sql(f"STOP JOB '{job.id}'")
            raise QueryError(f"the REST API at {at.rest} is not that of the Flink that runs {launch.table!r}", fix="set RTA_FLINK_REST to the address of its JobManager")  # fmt: skip
    state.started(job.id)
    _wait(job)
    state.thin(before)
    return job


def running(at: Cluster, launch: Launch) -> FlinkJob | None:
    """Return the job of this name that runs already: of a kernel that has gone, or a cell that is run again."""
    jobs = call("GET", f"{at.rest}/jobs/overview")["jobs"]
    ids = [each["jid"] for each in jobs if each["name"] == launch.name and each["state"] in _LIVES]
    return FlinkJob(ids[0], launch, at) if ids else None


def _wait(job: FlinkJob) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (state := job.state()) != "RUNNING":
        if state not in _LIVES or time.monotonic() > deadline:
            raise QueryError(f"Flink did not start {job.launch.table!r}", found=job.failure() or state, fix=_advice(job))  # fmt: skip
        time.sleep(_LOOK)


def _advice(job: FlinkJob) -> str:
    """Say what to do about a job that did not start."""
    if job.cluster.ours:
        return f"the log is {log()}"
    return f"see that its TaskManagers reach Kafka and {job.launch.state.uri}; the log is {log()}"
