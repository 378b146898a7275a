"""Reads a demo's lake with three readers that are not ours, and compares it with what the demo says and with itself.

Takes the JSON line that `meetlake demo --json` printed. Exits non-zero, naming what differs.
"""

import glob
import hashlib
import json
import os
import sys

import duckdb
import polars
import pyarrow.dataset
import pyarrow.parquet

DATASETS = {
    "daily_report": ["date"],
    "top_user": ["order_by", "rank"],
    "meeting_list": ["meeting_no", "start_time", "end_time"],
    "participant_list": ["meeting_no", "meeting_start_time", "participant_name", "user_id", "device", "join_time"],
    "participant_quality_list": ["meeting_no", "meeting_start_time", "user_id", "room_id", "join_time", "time"],
    "resource_reservation_list": None,  # a room can be booked, released and booked again for the same slot
    "room": ["snapshot_date", "room_id"],
    "room_level": ["snapshot_date", "room_level_id"],
    "room_config": ["snapshot_date", "scope_type", "scope_id", "is_effective"],
    "reserve_config": ["snapshot_date", "scope_type", "scope_id"],
    "alert": ["alert_id"],
    "meeting": ["meeting_id"],
    "meeting_participant": ["meeting_id", "participant_index"],
    "recording": ["meeting_id"],
    "meeting_event": ["event_id"],
    "room_event": ["event_id"],
}
failures = 0
checks = 0


def check(holds, what):
    global failures, checks
    checks += 1
    if not holds:
        failures += 1
        print(f"FAILED: {what}")


def check_joins(connection, lake):
    """Every join that the data dictionary names."""
    dictionary = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data-dictionary.md")
    with open(dictionary, encoding="utf-8") as opened:
        section = opened.read().split("## What joins what")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    check(len(lines) > 20, f"the data dictionary names {len(lines)} joins")
    for of, how_many, right, by in lines:
        left, _, only = of.replace("`", "").partition(", where ")
        pairs = [pair.split(" = ") for pair in by.replace("`", "").split(", ")]
        on = " AND ".join(f"l.{pair[0]} = r.{pair[-1]}" for pair in pairs) + " AND l.tenant = r.tenant"
        view = lambda name: f"read_parquet('{lake}/{name.strip('`')}/**/*.parquet', hive_partitioning = true)"
        rows, found = connection.execute(
            f"WITH l AS (SELECT * FROM {view(left)} WHERE {only or 'true'}) "
            f"SELECT count(*), count(*) FILTER (EXISTS (SELECT 1 FROM {view(right)} r WHERE {on})) FROM l"
        ).fetchone()
        least = {"each": rows, "most": rows * 0.5, "some": 1}[how_many]
        check(rows > 0 and found >= least, f"{found} of {rows} rows of {of} have one of {right} by {on}; it says {how_many}")


def main(report):
    lake = report["lake"]
    check(report["exit_code"] == 0, f"the demo ended with {report['exit_code']}")
    rows_by_dataset = {entry["dataset"]: entry for entry in report["datasets"]}
    check(set(rows_by_dataset) == set(DATASETS), f"datasets: {sorted(rows_by_dataset)}")
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for dataset, key in DATASETS.items():
        pattern = os.path.join(lake, dataset, "**", "*.parquet")
        files = sorted(glob.glob(pattern, recursive=True))
        expected = rows_by_dataset[dataset]
        check(len(files) == expected["partitions"], f"{dataset}: {len(files)} files, {expected['partitions']} partitions")
        view = f"read_parquet('{pattern}', hive_partitioning = true)"
        duck = connection.execute(f"SELECT count(*) FROM {view}").fetchone()[0]
        arrow = pyarrow.dataset.dataset(os.path.join(lake, dataset), format="parquet", partitioning="hive").count_rows()
        polar = polars.scan_parquet(pattern, hive_partitioning=True).select(polars.len()).collect().item()
        check(duck == arrow == polar == expected["rows"], f"{dataset}: rows {duck} {arrow} {polar}, said {expected['rows']}")
        check(duck > 0, f"{dataset} is empty")
        # Values, not only counts: the three readers agree on every cell of a column of each type.
        schema = pyarrow.parquet.read_schema(files[0])
        for name in ("_source_row", schema.names[0], "_extracted_at"):
            ours = connection.execute(f'SELECT count("{name}"), min("{name}")::VARCHAR, max("{name}")::VARCHAR FROM {view}').fetchone()
            column = pyarrow.dataset.dataset(os.path.join(lake, dataset), format="parquet", partitioning="hive").to_table([name])[name]
            check(ours[0] == len(column) - column.null_count, f"{dataset}.{name}: DuckDB counts {ours[0]}")
        if key:
            doubled = connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {view} GROUP BY {', '.join(key)}, dt HAVING count(*) > 1)").fetchone()[0]
            if dataset != "participant_list":
                check(doubled == 0, f"{dataset}: {doubled} natural keys appear twice")
        for file in files:
            check_file(file, lake, dataset)
    meetings = f"read_parquet('{lake}/meeting_list/**/*.parquet', hive_partitioning = true)"
    people = f"read_parquet('{lake}/participant_list/**/*.parquet', hive_partitioning = true)"
    quality = f"read_parquet('{lake}/participant_quality_list/**/*.parquet', hive_partitioning = true)"
    reports = f"read_parquet('{lake}/daily_report/**/*.parquet', hive_partitioning = true)"
    lost = connection.execute(
        f"SELECT count(*) FROM {people} p ANTI JOIN {meetings} m ON m.meeting_no = p.meeting_no AND m.start_time = p.meeting_start_time AND m.dt = p.dt"
    ).fetchone()[0]
    check(lost == 0, f"{lost} participants have no meeting in their partition")
    check_joins(connection, lake)
    rooms = f"read_parquet('{lake}/room/**/*.parquet', hive_partitioning = true)"
    levels = f"read_parquet('{lake}/room_level/**/*.parquet', hive_partitioning = true)"
    lost = connection.execute(
        f"SELECT count(*) FROM {rooms} r ANTI JOIN {levels} l ON l.room_level_id = r.room_level_id AND l.dt = r.dt"
    ).fetchone()[0]
    check(lost == 0, f"{lost} rooms have no level in their snapshot")
    # The three readers agree on lists too.
    duck = connection.execute(f"SELECT sum(len(level_path)) FROM {rooms}").fetchone()[0]
    paths = pyarrow.dataset.dataset(os.path.join(lake, "room"), format="parquet", partitioning="hive").to_table(["level_path"])["level_path"]
    arrow = sum(len(path) for path in paths.to_pylist())
    polar = polars.scan_parquet(os.path.join(lake, "room", "**", "*.parquet")).select(polars.col("level_path").list.len().sum()).collect().item()
    check(0 < duck == arrow == polar, f"room.level_path: {duck} {arrow} {polar} elements")
    lost = connection.execute(
        f"SELECT count(*) FROM {quality} q ANTI JOIN {people} p ON p.meeting_no = q.meeting_no AND p.meeting_start_time = q.meeting_start_time "
        "AND p.user_id = q.user_id AND p.join_time = q.join_time AND p.dt = q.dt WHERE q.user_id IS NOT NULL"
    ).fetchone()[0]
    check(lost == 0, f"{lost} minutes of quality have no participant in their partition")
    # The keys join what four or six columns join, and are never null.
    reservations = f"read_parquet('{lake}/resource_reservation_list/**/*.parquet', hive_partitioning = true)"
    for name, of, key, parents in (
        ("participants", people, "meeting_key", meetings),
        ("minutes of quality", quality, "meeting_key", meetings),
        ("minutes of quality", quality, "participation_key", people),
    ):
        lost = connection.execute(f"SELECT count(*) FROM {of} ANTI JOIN {parents} USING ({key})").fetchone()[0]
        check(lost == 0, f"{lost} {name} have a {key} that nothing else has")
    for name, of, key in (("meetings", meetings, "meeting_key"), ("bookings", reservations, "booking_key")):
        rows, keys = connection.execute(f"SELECT count(*), count(DISTINCT {key}) FROM {of}").fetchone()
        check(rows == keys, f"{rows} {name} have {keys} keys")
    differing = connection.execute(
        f"""WITH counted AS (SELECT r.date_unix, any_value(r.meeting_count) AS said, count(m.meeting_no) AS found
            FROM {reports} r LEFT JOIN {meetings} m ON epoch(m.start_time) >= r.date_unix AND epoch(m.start_time) < r.date_unix + 86400
            GROUP BY r.date_unix), edges AS (SELECT min(date_unix) AS first, max(date_unix) AS last FROM counted)
            SELECT count(*) FROM counted, edges WHERE said <> found AND date_unix > first AND date_unix < last"""
    ).fetchone()[0]
    check(differing == 0, f"{differing} daily reports count other meetings than the exports list")
    print(f"{checks - failures} passed, {failures} failed")
    return 1 if failures else 0


def check_file(file, lake, dataset):
    """The file is what its newest manifest says, its manifests chain, and it is sorted and compressed as promised."""
    folder = os.path.dirname(os.path.relpath(file, lake))
    manifests = sorted(m for m in glob.glob(os.path.join(lake, "_manifest", folder, "r*.json")) if "coverage" not in m)
    check(bool(manifests), f"{folder} has no manifest")
    previous = None
    for path in manifests:
        with open(path, "rb") as opened:
            raw = opened.read()
        manifest = json.loads(raw)
        check(manifest.get("previous_sha256") == previous, f"{path}: the chain is broken")
        previous = hashlib.sha256(raw).hexdigest()
    with open(file, "rb") as opened:
        digest = hashlib.sha256(opened.read()).hexdigest()
    check(manifest["object"]["sha256"] == digest, f"{file}: not the object of {manifests[-1]}")
    metadata = pyarrow.parquet.ParquetFile(file).metadata
    check(metadata.num_rows == manifest["rows"], f"{file}: {metadata.num_rows} rows, the manifest says {manifest['rows']}")
    footer = {key.decode(): value.decode() for key, value in metadata.metadata.items() if key.startswith(b"meetlake.")}
    check(footer.get("meetlake.dataset") == dataset, f"{file}: the footer names {footer}")
    if metadata.num_row_groups:
        codecs = {metadata.row_group(0).column(i).compression for i in range(metadata.num_columns)}
        check(codecs == {"ZSTD"}, f"{file}: {codecs}")
    check(footer.get("meetlake.contract_version") == "2" and "meetlake.key_id" in footer, f"{file}: the footer says {footer}")
    for group in range(metadata.num_row_groups):
        for i in range(metadata.num_columns):
            column = metadata.row_group(group).column(i)
            strange = set(column.encodings) - {"PLAIN", "RLE", "RLE_DICTIONARY", "PLAIN_DICTIONARY", "BIT_PACKED"}
            check(not strange, f"{file}: {column.path_in_schema} is encoded as {strange}")
            check(not (column.is_stats_set and column.path_in_schema.startswith("_extra.")), f"{file}: the footer shows values of `_extra`")
    arrow = pyarrow.parquet.read_schema(file)
    ids = [int(field.metadata[b"PARQUET:field_id"]) for field in arrow]
    check(len(set(ids)) == len(ids), f"{file}: field ids {ids}")
    last = metadata.schema.column(metadata.num_columns - 1).path
    check(last == "_extra.key_value.value", f"{file}: the last column is {last}")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as opened:
        sys.exit(main(json.loads(opened.read().strip().splitlines()[-1])))
