-- From format 1 to format 2: values that were kept as JSON in a place of something else get a table
-- and columns of their own. Every ledger of format 1 is SQLite's, so this is in its dialect.

-- Until now: meta rows `reported:{tenant}:{date}`, JSON {"start": unix seconds, "meetings": n}. A
-- date is digits and `-` only, so it begins after the last `:`, whatever the tenant is called.
CREATE TABLE reported_day (
    tenant   TEXT   NOT NULL,
    date     TEXT   NOT NULL,
    start_at BIGINT NOT NULL,
    meetings BIGINT NOT NULL,
    PRIMARY KEY (tenant, date)
);
INSERT INTO reported_day (tenant, date, start_at, meetings)
SELECT substr(before_date, 10, length(before_date) - 10),
       substr(name, length(before_date) + 1),
       json_extract(value, '$.start') * 1000000,
       json_extract(value, '$.meetings')
FROM (SELECT name, value, rtrim(name, '-0123456789') AS before_date FROM meta
      WHERE substr(name, 1, 9) = 'reported:') AS reported
-- A count that cannot be read is worth nothing; the next report brings it again.
WHERE CASE WHEN json_valid(value) THEN json_extract(value, '$.start') END IS NOT NULL
  AND CASE WHEN json_valid(value) THEN json_extract(value, '$.meetings') END IS NOT NULL;
DELETE FROM meta WHERE substr(name, 1, 9) = 'reported:';

-- Until now: in place of a task's result, JSON {"damaged_sha256": text, "times": n}.
ALTER TABLE task ADD COLUMN damaged_sha256 TEXT;
ALTER TABLE task ADD COLUMN damaged_times BIGINT;
UPDATE task
SET damaged_sha256 = json_extract(result, '$.damaged_sha256'),
    damaged_times = json_extract(result, '$.times'),
    result = NULL
WHERE CASE WHEN json_valid(result) THEN json_extract(result, '$.damaged_sha256') END IS NOT NULL;

-- A result without anything in it is none.
UPDATE task SET result = NULL WHERE result = '{}';
