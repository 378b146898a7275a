-- From format 2 to format 3, which goes with lakes of format 2.

-- A parent's row tells the device too, which is part of the key of a participation. It is not known
-- of rows that were read before.
ALTER TABLE parent ADD COLUMN device TEXT;

-- Packs lie by day and dataset, and inputs no longer hold what was asked for. What these rows name
-- lies in a lake of format 1, which this ledger does not go on with: its data is written into a new
-- lake, and its ledger is rebuilt from that.
UPDATE task SET pack = NULL;
DELETE FROM input;
