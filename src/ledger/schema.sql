-- The ledger: what is known, due and done. Losing it loses no data: published state can be rebuilt
-- from the manifests in the lake. Written so that SQLite and PostgreSQL read it alike: TEXT and
-- BIGINT only, instants as microseconds since 1970-01-01T00:00:00Z, structures as JSON text, `$n`
-- parameters, ON CONFLICT.

CREATE TABLE IF NOT EXISTS meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- How far a job's schedule has been looked at for one tenant. The watermark moves in the
-- transaction that inserts the windows.
CREATE TABLE IF NOT EXISTS schedule (
    job          TEXT   NOT NULL,
    tenant       TEXT   NOT NULL,
    watermark    BIGINT NOT NULL,  -- end of the newest window ever inserted by the schedule
    last_firing  BIGINT NOT NULL,  -- newest firing that was handled
    PRIMARY KEY (job, tenant)
);

-- A range of data that should be in the lake.
CREATE TABLE IF NOT EXISTS job_window (
    tenant     TEXT   NOT NULL,
    dataset    TEXT   NOT NULL,
    start_at   BIGINT NOT NULL,
    end_at     BIGINT NOT NULL,
    job        TEXT   NOT NULL,
    due_at     BIGINT NOT NULL,  -- not exported before this instant
    state      TEXT   NOT NULL,  -- due | planned | settled | stuck | skipped | lost
    generation BIGINT NOT NULL,  -- 1, and one more with each lookback
    covered_at BIGINT NOT NULL,  -- the firing that asked for this generation
    parents    TEXT,             -- digest of the parent rows its tasks were planned from
    coverage   TEXT,             -- JSON: what the fan-out left out
    PRIMARY KEY (tenant, dataset, start_at, end_at)
);
-- A handful among hundreds of thousands.
CREATE INDEX IF NOT EXISTS window_open ON job_window (tenant, dataset, start_at, end_at)
    WHERE state IN ('due', 'planned', 'stuck');

-- A unit of work under its deterministic key.
CREATE TABLE IF NOT EXISTS task (
    key            TEXT   PRIMARY KEY,
    tenant         TEXT   NOT NULL,
    dataset        TEXT   NOT NULL,
    job_start      BIGINT NOT NULL, -- the job's window it was planned for
    job_end        BIGINT NOT NULL,
    window_start   BIGINT NOT NULL, -- its own range, no longer than the dataset's span
    window_end     BIGINT NOT NULL,
    request        TEXT   NOT NULL, -- JSON, the wire parameters
    lineage        TEXT   NOT NULL, -- JSON, what its rows get from it
    priority       BIGINT NOT NULL, -- smaller first
    generation     BIGINT NOT NULL,
    phase          TEXT   NOT NULL, -- open | spooled | published | quarantined | failed | withdrawn
    machine        TEXT   NOT NULL, -- JSON, where the export stands
    attempts       BIGINT NOT NULL, -- given up so far in this generation
    submits        BIGINT NOT NULL, -- submits sent in all generations
    polls          BIGINT NOT NULL, -- polls sent in all generations
    run_at         BIGINT NOT NULL, -- not before this instant
    rows_out       BIGINT,          -- rows of this generation
    dts            TEXT,            -- JSON list of the partitions its rows fall into
    pack           TEXT,            -- where its original is archived
    result         TEXT,            -- JSON of what normalising found
    error_kind     TEXT,            -- the last failure of this generation: its cause,
    error          TEXT,            -- and its message
    updated_at     BIGINT NOT NULL,
    damaged_sha256 TEXT,            -- bytes that could not be read
    damaged_times  BIGINT           -- how many times in a row
);
CREATE INDEX IF NOT EXISTS task_by_phase ON task (phase, run_at);
CREATE INDEX IF NOT EXISTS task_by_window ON task (tenant, dataset, job_start, job_end, phase);

-- What children need of a parent's rows, before any privacy policy: kept here because the lake may
-- hold less.
CREATE TABLE IF NOT EXISTS parent (
    task_key          TEXT   NOT NULL,
    source_row        BIGINT NOT NULL,
    tenant            TEXT   NOT NULL,
    dataset           TEXT   NOT NULL,  -- of the parent
    meeting_no        TEXT   NOT NULL,
    start_at          BIGINT NOT NULL,
    end_at            BIGINT,
    participant_count BIGINT,
    join_at           BIGINT,
    stay_s            BIGINT,
    user_id           TEXT,
    room_id           TEXT,
    device            TEXT,
    meeting_id        TEXT,
    was_recorded      BIGINT,           -- 0 or 1
    PRIMARY KEY (task_key, source_row)
);
CREATE INDEX IF NOT EXISTS parent_by_start ON parent (tenant, dataset, start_at);

-- The rooms of a tenant, as last listed.
CREATE TABLE IF NOT EXISTS room (
    tenant        TEXT   NOT NULL,
    room_id       TEXT   NOT NULL,
    room_level_id TEXT   NOT NULL,
    seen_at       BIGINT NOT NULL,
    PRIMARY KEY (tenant, room_id)
);

-- What a tenant's daily report last counted. It outlives the report's task.
CREATE TABLE IF NOT EXISTS reported_day (
    tenant   TEXT   NOT NULL,
    date     TEXT   NOT NULL,
    start_at BIGINT NOT NULL,  -- first instant of the report's day
    meetings BIGINT NOT NULL,
    PRIMARY KEY (tenant, date)
);

-- One object of the lake, and a publish of it that may be under way.
CREATE TABLE IF NOT EXISTS partition (
    tenant          TEXT   NOT NULL,
    dataset         TEXT   NOT NULL,
    dt              TEXT   NOT NULL,
    revision        BIGINT NOT NULL,  -- 0: never published
    state           TEXT   NOT NULL,  -- complete | partial
    content_hash    TEXT,
    manifest_sha256 TEXT,
    rows_out        BIGINT NOT NULL,
    size_bytes      BIGINT NOT NULL,
    published_at    BIGINT,           -- when this revision was completed
    checked_at      BIGINT,           -- when a later export last gave the same content
    intent          TEXT,             -- JSON of the revision being published
    PRIMARY KEY (tenant, dataset, dt)
);
CREATE INDEX IF NOT EXISTS partition_partial ON partition (tenant, dataset, dt)
    WHERE state = 'partial';

-- The workbooks a partition is made of: the entries of its manifest's input list.
CREATE TABLE IF NOT EXISTS input (
    tenant     TEXT   NOT NULL,
    dataset    TEXT   NOT NULL,
    dt         TEXT   NOT NULL,
    task_key   TEXT   NOT NULL,
    generation BIGINT NOT NULL,
    entry      TEXT   NOT NULL,  -- JSON, as in the manifest
    PRIMARY KEY (tenant, dataset, dt, task_key)
);
CREATE INDEX IF NOT EXISTS input_by_task ON input (task_key);

-- Events that Feishu sent. A body stays until its original is in the lake, an id for seven days.
CREATE TABLE IF NOT EXISTS event (
    tenant      TEXT   NOT NULL,
    event_id    TEXT   NOT NULL,  -- the same at every delivery
    dataset     TEXT   NOT NULL,
    event_at    BIGINT NOT NULL,  -- when it happened
    received_at BIGINT NOT NULL,  -- when it first came
    event_type  TEXT   NOT NULL,
    body        TEXT,             -- JSON as it came, without secrets
    task_key    TEXT,             -- the batch that publishes it
    PRIMARY KEY (tenant, event_id)
);
CREATE INDEX IF NOT EXISTS event_by_task ON event (task_key);

-- When events of each type came, and what became of them.
CREATE TABLE IF NOT EXISTS event_type (
    tenant           TEXT   NOT NULL,
    event_type       TEXT   NOT NULL,
    last_received_at BIGINT NOT NULL,
    last_event_at    BIGINT,           -- of those that were kept
    kept             BIGINT NOT NULL,
    repeated         BIGINT NOT NULL,  -- came again
    left_out         BIGINT NOT NULL,  -- acknowledged, and not kept
    PRIMARY KEY (tenant, event_type)
);

CREATE TABLE IF NOT EXISTS run (
    id         BIGINT PRIMARY KEY,  -- start, microseconds
    verb       TEXT   NOT NULL,
    ended_at   BIGINT,
    exit_code  BIGINT,
    summary    TEXT
);
