"""The tables. Money is in picodollars, time in seconds since the epoch; what is nested is JSON text.

A change here is a migration too, in `migrations/versions`, with the next number. It only adds, and gives every new
column a `server_default`: a bot of the version before works on beside the new one.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
)

SCHEMA_VERSION = "0004"
"""The number of the newest migration."""

metadata = MetaData()

# Alembic's own; kept apart from what it compares.
versions = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))

runs = Table(
    "runs",
    metadata,
    Column("id", String(120), primary_key=True),
    Column("title", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("job", Text, nullable=False),
    Column("app_type", String(40), nullable=False, default=""),
    Column("nonce", String(64), nullable=False),
    Column("fence", Integer, nullable=False, default=0),
    Column("resumes", Integer, nullable=False, default=0),
    Column("architecture", Text),
    Column("forecast", Text),
    Column("evaluation", Text),
    Column("outcome", Text),
    Column("sandbox", Text, nullable=False, default=""),
    Column("notes", Text, nullable=False, default="[]"),
    Column("source", Text, nullable=False, default=""),
    Column("output_dir", Text, nullable=False, default=""),
    Column("elapsed_seconds", Float, nullable=False, default=0.0),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Index("runs_by_time", "created_at"),
)


def _run(*, primary_key: bool = True) -> Column[str]:
    return Column(
        "run_id", String(120), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=primary_key, nullable=False
    )


tasks = Table(
    "tasks",
    metadata,
    _run(),
    Column("id", String(120), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("definition", Text, nullable=False),
    Column("status", String(20), nullable=False),
    Column("round", Integer, nullable=False, default=0),
    Column("result", Text),
)

artifacts = Table(
    "artifacts",
    metadata,
    _run(),
    Column("path", Text, primary_key=True),
    Column("task_id", String(120), nullable=False),
    Column("content", LargeBinary),  # NULL: the file is deleted
)

validations = Table(
    "validations",
    metadata,
    _run(),
    Column("ordinal", Integer, primary_key=True),
    Column("result", Text, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(160), primary_key=True),
    Column("cap", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False, default=0),
    Column("reserved", BigInteger, nullable=False, default=0),
)

calls = Table(
    "calls",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    _run(primary_key=False),
    Column("task_id", String(120), nullable=False),
    Column("purpose", String(20), nullable=False),
    Column("provider", String(40), nullable=False),
    Column("model", String(120), nullable=False),
    Column("state", String(10), nullable=False),  # reserved | settled | lost | released
    Column("accounts", Text, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False, default=0),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
    Column("key", String(64)),  # of the question that `answer` answers; a replay finds it there
    Column("answer", Text),
    Column("created_at", Float, nullable=False),
    Index("calls_by_run", "run_id", "state"),
    UniqueConstraint("run_id", "key", name="calls_key"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("event", String(60), nullable=False),
    Column("repository", String(200), nullable=False),
    Column("command_key", String(120)),
    Column("issue", Integer, nullable=False, default=0),
    Column("actor", String(100), nullable=False, default=""),
    Column("run_id", String(120)),
    Column("payload", Text, nullable=False),
    Column("attempt", Integer, nullable=False, default=0, server_default="0"),
    Column("failures", Integer, nullable=False, default=0, server_default="0"),
    Column("begun", Integer, nullable=False, default=0, server_default="0"),
    Column("ending", Text, nullable=False, default="", server_default=""),
    Column("job", BigInteger),  # the queue's number of the last attempt
    Column("state", String(12), nullable=False),  # queued | done | ignored
    Column("received_at", Float, nullable=False),
    UniqueConstraint("command_key", name="deliveries_command"),
    Index("deliveries_by_state", "state", "received_at"),
    Index("deliveries_by_actor", "actor", "received_at"),
    Index("deliveries_by_issue", "repository", "issue", "received_at"),
)

effects = Table(
    "effects",
    metadata,
    Column("run_id", String(120), primary_key=True),
    Column("kind", String(40), primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("state", String(10), nullable=False),  # begun | done
    Column("remote_id", String(200), nullable=False, default=""),
    Column("at", Float, nullable=False),
)

# What a staged run would have written. No run need be there: a lint or a refusal has previews too.
previews = Table(
    "previews",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String(120), nullable=False),
    Column("preview", Text, nullable=False),
    Column("at", Float, nullable=False),
    Index("previews_by_run", "run_id", "id"),
)

# Who wants a run to stop; kept apart from the run, which may not exist yet, and which another process may hold.
cancellations = Table(
    "cancellations",
    metadata,
    Column("run_id", String(120), primary_key=True),
    Column("actor", String(100), nullable=False),
    Column("at", Float, nullable=False),
)

# What a run that was admitted under a hierarchy may still spend of an account, less what it has spent since.
holds = Table(
    "holds",
    metadata,
    Column("account", String(160), primary_key=True),
    Column("run_id", String(120), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("until", Float, nullable=False),
)

# How much an installation may still write on GitHub, as it was at a time (`bucket`).
content = Table(
    "content",
    metadata,
    Column("installation", String(160), primary_key=True),
    Column("room", Float, nullable=False),
    Column("at", Float, nullable=False),
)

# Averages, whose fields are explained at `prediction.Observation`.
observations = Table(
    "observations",
    metadata,
    Column("scope", String(200), primary_key=True),
    Column("model", String(120), primary_key=True),
    Column("purpose", String(20), primary_key=True),
    Column("task_type", String(40), primary_key=True),
    Column("prompt_version", String(64), primary_key=True),
    Column("calls", Integer, nullable=False, default=0),
    Column("cost_usd", Float, nullable=False, default=0.0),
    Column("cost_variance", Float, nullable=False, default=0.0),
    Column("input_tokens", Float, nullable=False, default=0.0),
    Column("output_tokens", Float, nullable=False, default=0.0),
    Column("seconds", Float, nullable=False, default=0.0),
    Column("tried", Integer, nullable=False, default=0),
    Column("passed", Float, nullable=False, default=0.0),
    Column("score", Float, nullable=False, default=0.0),
    Column("updated_at", Float, nullable=False),
    Index("observations_by_time", "updated_at"),
)

# The observations that a run chooses its models by, as they were when it began.
learned = Table(
    "learned",
    metadata,
    _run(),
    Column("observations", Text, nullable=False),
)

# What was decided, by whom and about what; no run need be there. The database refuses all but new rows.
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", String(120), nullable=False),
    Column("delivery", String(80), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("facts", Text, nullable=False),
    Column("at", Float, nullable=False),
    Index("audit_by_run", "run_id", "id"),
)

APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
        "CREATE TRIGGER audit_keeps_values BEFORE UPDATE ON audit "
        "BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$",
        "CREATE TRIGGER audit_keeps_rows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_kept()",
    ),
}
"""What keeps a database from changing rows of the audit, by dialect."""

for _dialect, _statements in APPEND_ONLY.items():
    for _statement in _statements:
        keeping = DDL(_statement)  # type: ignore[no-untyped-call] # SQLAlchemy's own
        event.listen(audit, "after_create", keeping.execute_if(dialect=_dialect))
