-- From format 5 to format 6: what is not as it should be is found without a walk through all that
-- is. These are a handful among hundreds of thousands.
CREATE INDEX window_open ON job_window (tenant, dataset, start_at, end_at)
    WHERE state IN ('due', 'planned', 'stuck');
CREATE INDEX partition_partial ON partition (tenant, dataset, dt) WHERE state = 'partial';
