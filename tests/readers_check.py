"""Shows that tests/readers.py finds planted differences, each of them and nothing else."""

import datetime
import sys

import pyarrow as pa

import readers

UTC = datetime.timezone.utc
START = datetime.datetime(2026, 11, 19, 1, 2, 3, 4, tzinfo=UTC)
INSTANT = pa.timestamp("us", "UTC")
TEXTS = pa.map_(pa.string(), pa.string())
ROWS = {
    "text": pa.array(["a", None, "", "季度"]),
    "number": pa.array([2**63 - 1, None, -(2**63), 0]),
    "small": pa.array([1, 2, None, 4], pa.int32()),
    "float": pa.array([0.0, None, -0.0, 5e-324]),
    "flag": pa.array([True, False, None, True]),
    "day": pa.array([datetime.date(1969, 12, 31), None, None, START.date()]),
    "time": pa.array([START, None, START, datetime.datetime(1900, 1, 1, tzinfo=UTC)], INSTANT),
    "list": pa.array([["a", None], None, [], [""]], pa.list_(pa.string())),
    "map": pa.array([[("a", None)], None, [], [("a", "x"), ("b", "")]], TEXTS),
}


def with_column(name, values, of=None):
    return pa.table({**ROWS, name: pa.array(values, of or ROWS[name].type)})


def without(row):
    table = pa.table(ROWS)
    return pa.concat_tables([table.slice(0, row), table.slice(row + 1)])


def swapped():
    return pa.table(ROWS).take([1, 0, 2, 3])


def shifted(row, by):
    numbers = ROWS["time"].cast(pa.int64()).to_pylist()
    numbers[row] += by
    return with_column("time", pa.array(numbers, pa.int64()).cast(INSTANT))


DEFECTS = {
    "a changed text": (with_column("text", ["a", None, "", "季 度"]), {"text"}),
    "a null that is an empty text": (with_column("text", ["a", "", "", "季度"]), {"text"}),
    "an empty text that is null": (with_column("text", ["a", None, None, "季度"]), {"text"}),
    "a number off by one": (with_column("number", [2**63 - 2, None, -(2**63), 0]), {"number"}),
    "a null that is 0": (with_column("small", [1, 2, 0, 4]), {"small"}),
    "another sign of zero": (with_column("float", [-0.0, None, -0.0, 5e-324]), {"float"}),
    "a lost denormal": (with_column("float", [0.0, None, -0.0, 0.0]), {"float"}),
    "a turned flag": (with_column("flag", [True, True, None, True]), {"flag"}),
    "a day later": (
        with_column("day", [datetime.date(1970, 1, 1), None, None, START.date()]),
        {"day"},
    ),
    "an instant off by 1 µs": (shifted(0, 1), {"time"}),
    "an old instant off by 1 µs": (shifted(3, -1), {"time"}),
    "an instant without its zone": (
        pa.table({**ROWS, "time": ROWS["time"].cast(pa.timestamp("us"))}),
        {"time"},
    ),
    "a number that came as text": (
        pa.table({**ROWS, "small": ROWS["small"].cast(pa.string())}),
        {"small"},
    ),
    "a number that came as a float": (
        pa.table({**ROWS, "small": ROWS["small"].cast(pa.float64())}),
        {"small"},
    ),
    "a lost element": (with_column("list", [["a"], None, [], [""]]), {"list"}),
    "a null list that is empty": (with_column("list", [["a", None], [], [], [""]]), {"list"}),
    "a value under another key": (
        with_column("map", [[("b", None)], None, [], [("a", "x"), ("b", "")]]),
        {"map"},
    ),
    "a null value that is empty": (
        with_column("map", [[("a", "")], None, [], [("a", "x"), ("b", "")]]),
        {"map"},
    ),
    "two rows swapped": (swapped(), set(ROWS)),
    "a lost row at the end": (without(3), {"3 rows instead of 4"}),
    "a lost row": (without(1), {"3 rows instead of 4"} | set(ROWS)),
    "columns in another order": (pa.table(ROWS).select(sorted(ROWS)), {"columns"}),
    "a lost column": (pa.table(ROWS).drop_columns(["flag"]), {"columns"}),
}


def subjects(lines):
    """The column that a line is about, or the line."""
    counts = {line for line in lines if " rows instead of " in line}
    return counts | {line.split(":")[0].split(" [")[0] for line in set(lines) - counts}


def main():
    truth = pa.table(ROWS)
    wrong = []
    for equal in (truth, in_other_types(truth)):
        wrong += [f"equal tables differ: {line}" for line in readers.differences(truth, equal)]
    for name, (table, columns) in DEFECTS.items():
        found = subjects(readers.differences(truth, table))
        if found != columns:
            wrong.append(f"{name}: found in {sorted(found)} instead of {sorted(columns)}")
    folded = with_column("list", [["a", None], [], None, [""]])
    wrong += readers.differences(truth, folded, folds_empty=True)
    print("\n".join(wrong) or f"{len(DEFECTS)} planted differences found")
    return 1 if wrong else 0


def in_other_types(table):
    """The same values as other readers type them."""
    columns = {name: table[name] for name in table.column_names}
    columns["text"] = columns["text"].dictionary_encode()
    pairs = [row and [dict(zip("kv", pair)) for pair in row] for row in columns["map"].to_pylist()]
    entry = pa.struct([("k", pa.string_view()), ("v", pa.string_view())])
    columns["map"] = pa.array(pairs, pa.list_(entry))
    columns["list"] = columns["list"].cast(pa.large_list(pa.large_string()))
    return pa.table(columns)


if __name__ == "__main__":
    sys.exit(main())
