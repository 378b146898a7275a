"""Are all these files the same table? `compare.py LAYOUT OURS.parquet THEIRS.parquet...`: column by column, type by type, row by row.

Sorted by natural key, time first, then by all other columns, because only meetlake promises an order. Ours must come in the order of the key.
"""

import sys

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from columns import BOOL, DURATION, INTEGER, KEYS, LAYOUTS, TEXT, TIME

TYPES = {TEXT: pa.string(), TIME: pa.timestamp("us", "UTC"), DURATION: pa.int64(), INTEGER: pa.int64(), BOOL: pa.bool_()}
# Two ways to keep text in memory; the Parquet type is the same.
SAME = {pa.large_string(): pa.string(), pa.string_view(): pa.string()}


def read(layout, path):
    columns = LAYOUTS[layout]
    schema = pq.read_schema(path)
    for name, kind in columns:
        found = schema.field(name).type
        found, expected = SAME.get(found, found), TYPES.get(kind, pa.float64())
        if found != expected:
            sys.exit(f"{path}: {name} is {found}, not {expected}")
    return pl.read_parquet(path, columns=[name for name, _ in columns])


def main(layout, ours, *others):
    first = read(layout, ours)
    keys = KEYS[layout]
    order = keys + [name for name in first.columns if name not in keys]
    as_written = first.select(keys)
    first = first.sort(order, nulls_last=False)
    if not as_written.equals(first.select(keys)):
        sys.exit(f"{ours}: rows are not in the order of {', '.join(keys)}")
    for path in others:
        other = read(layout, path).sort(order, nulls_last=False)
        if other.height != first.height:
            sys.exit(f"{path} has {other.height} rows, {ours} {first.height}")
        for name in first.columns:
            if not first[name].equals(other[name], null_equal=True):
                rows = (first[name].ne_missing(other[name])).arg_true()
                row = rows[0]
                sys.exit(f"{path}: {name} differs in {len(rows)} rows, first {other[name][row]!r} instead of {first[name][row]!r}")
    print(f"{first.height} rows x {first.width} columns of {1 + len(others)} files are equal")


if __name__ == "__main__":
    main(*sys.argv[1:])
