-- From format 4 to format 5: events that Feishu sends.

CREATE TABLE event (
    tenant      TEXT   NOT NULL,
    event_id    TEXT   NOT NULL,
    dataset     TEXT   NOT NULL,
    event_at    BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    event_type  TEXT   NOT NULL,
    body        TEXT,
    task_key    TEXT,
    PRIMARY KEY (tenant, event_id)
);
CREATE INDEX event_by_task ON event (task_key);

CREATE TABLE event_type (
    tenant           TEXT   NOT NULL,
    event_type       TEXT   NOT NULL,
    last_received_at BIGINT NOT NULL,
    last_event_at    BIGINT,
    kept             BIGINT NOT NULL,
    repeated         BIGINT NOT NULL,
    left_out         BIGINT NOT NULL,
    PRIMARY KEY (tenant, event_type)
);
