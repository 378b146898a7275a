-- From format 3 to format 4.

-- A parent's row tells the unique id of its meeting, and whether that was recorded. No dataset of
-- an older ledger knows either.
ALTER TABLE parent ADD COLUMN meeting_id TEXT;
ALTER TABLE parent ADD COLUMN was_recorded BIGINT;
