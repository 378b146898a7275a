"""Fills a new ledger with the settled history of many tenants: `large_ledger.py LEDGER TENANTS DAYS LAST_DAY DATASET…`.

Of each dataset a window, a task and a partition a day each, days of UTC+8 that end with LAST_DAY. All of them went well, but of every tenth
tenant: three days ago its list failed, four days ago its participants are partial, and on the last day its top users are still asked for.
"""

import datetime
import json
import sqlite3
import sys

path, tenants, days, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), datetime.date.fromisoformat(sys.argv[4])
DATASETS = sys.argv[5:]
DAY = 86_400_000_000
EPOCH = datetime.date(1970, 1, 1)
SETTLE = 3 * 3_600_000_000
db = sqlite3.connect(path)
db.execute("PRAGMA synchronous = OFF")
windows, tasks, partitions, schedules = [], [], [], []
lineage, machine = "{}", '{"at":"planned"}'


def flush():
    db.executemany("INSERT INTO job_window (tenant, dataset, start_at, end_at, job, due_at, state, generation, covered_at) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?, 1, ?)", windows)
    db.executemany("INSERT INTO task (key, tenant, dataset, job_start, job_end, window_start, window_end, request, lineage, priority, generation, "
                   "phase, machine, attempts, submits, polls, run_at, rows_out, error_kind, error, updated_at) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 1, ?, ?, 1, 1, 2, ?, 20, ?, ?, ?)", tasks)
    db.executemany("INSERT INTO partition (tenant, dataset, dt, revision, state, content_hash, manifest_sha256, rows_out, size_bytes, published_at) "
                   "VALUES (?, ?, ?, 1, ?, ?, ?, 20, 9000, ?)", partitions)
    for rows in (windows, tasks, partitions):
        rows.clear()


for tenant in range(tenants):
    name = f"t{tenant:03}"
    is_struck = tenant % 10 == 0
    for number, dataset in enumerate(DATASETS):
        for back in range(days):
            date = last - datetime.timedelta(days=back)
            start = (date - EPOCH).days * DAY - 8 * 3_600_000_000
            end, phase, window, error, state = start + DAY, "published", "settled", (None, None), "complete"
            if is_struck and (dataset, back) == ("meeting_list", 3):
                phase, window, error, state = "failed", "stuck", ("export", "Feishu could not do the export"), None
            if is_struck and (dataset, back) == ("participant_list", 4):
                state = "partial"
            if is_struck and (dataset, back) == ("top_user", 0):
                phase, window, state = "open", "planned", None
            request = json.dumps({"dataset": dataset, "start": start // 1_000_000, "end": end // 1_000_000})
            key = f"{tenant:08x}{number:08x}{back:016x}"
            windows.append((name, dataset, start, end, dataset, end + SETTLE, window, end + SETTLE))
            tasks.append((key, name, dataset, start, end, start, end, request, lineage, phase, machine, end, *error, end))
            if state:
                partitions.append((name, dataset, date.isoformat(), state, "2:" + key * 2, key * 2, end + SETTLE))
        watermark = (last - EPOCH).days * DAY + DAY - 8 * 3_600_000_000
        db.execute("INSERT INTO schedule VALUES (?, ?, ?, ?)", (dataset, name, watermark, watermark + 4 * 3_600_000_000))
    flush()
db.commit()
