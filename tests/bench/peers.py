"""One peer converts one workbook: `peers.py PEER LAYOUT FILE.xlsx OUT.parquet`.

Every peer does the work that `meetlake convert` does on the sheet's columns: read, rename, type, write Parquet with zstd 3. None of them
sorts, hashes, keeps what does not fit, or checks anything; that is to their advantage.
"""

import pathlib
import sys

from columns import BOOL, DURATION, INTEGER, KBPS, LAYOUTS, MS, PERCENT, TEXT, TIME


def polars(columns, source, target):
    import polars as pl

    frame = pl.read_excel(source, engine="calamine", infer_schema_length=0)
    frame.columns = [name for name, _ in columns]
    units = {KBPS: "kbps", MS: "ms", PERCENT: "%"}

    def typed(name, kind):
        column = pl.col(name)
        if kind == TEXT:
            return pl.when(column != "").then(column).alias(name)
        if kind == TIME:
            return column.str.to_datetime("%Y.%m.%d %H:%M:%S (GMT%z)", time_unit="us")
        if kind == DURATION:
            part = lambda start: column.str.slice(start, 2).cast(pl.Int64)
            return (part(0) * 3600 + part(3) * 60 + part(6)).alias(name)
        if kind == INTEGER:
            return column.cast(pl.Int64)
        if kind == BOOL:
            return (column == "是").alias(name)
        number = lambda unit: column.str.strip_suffix(unit).cast(pl.Float64, strict=False)
        if kind == KBPS:
            return pl.coalesce(number("kbps"), (number("Mbps") * 1000).round(3)).alias(name)
        return number(units[kind]).alias(name)

    frame = frame.select(typed(name, kind) for name, kind in columns)
    frame.write_parquet(target, compression="zstd", compression_level=3)


def fastexcel(columns, source, target):
    import fastexcel
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    batch = fastexcel.read_excel(source).load_sheet(0, dtypes="string").to_arrow()

    def typed(column, kind):
        if kind == TEXT:
            return pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
        if kind == TIME:
            # strptime has no offsets here; every one in the sheet is +08:00.
            civil = pc.strptime(pc.utf8_slice_codeunits(column, 0, 19), format="%Y.%m.%d %H:%M:%S", unit="us")
            utc = pc.subtract(civil, pa.scalar(8 * 3600 * 1_000_000, pa.duration("us")))
            return utc.cast(pa.timestamp("us", "UTC"))
        if kind == DURATION:
            part = lambda start: pc.utf8_slice_codeunits(column, start, start + 2).cast(pa.int64())
            seconds = pc.add(pc.multiply(part(0), 3600), pc.multiply(part(3), 60))
            return pc.add(seconds, part(6))
        if kind == INTEGER:
            return column.cast(pa.int64())
        if kind == BOOL:
            return pc.equal(column, "是")
        filled = pc.if_else(pc.equal(column, "-"), pa.scalar(None, column.type), column)
        if kind == KBPS:
            mega = pc.ends_with(filled, "Mbps")
            number = pc.utf8_slice_codeunits(filled, 0, -4).cast(pa.float64())
            return pc.if_else(mega, pc.round(pc.multiply(number, 1000.0), ndigits=3), number)
        return pc.utf8_slice_codeunits(filled, 0, -2 if kind == MS else -1).cast(pa.float64())

    arrays = [typed(column, kind) for column, (_, kind) in zip(batch.columns, columns)]
    table = pa.table(arrays, names=[name for name, _ in columns])
    pq.write_table(table, target, compression="zstd", compression_level=3)


def duckdb(columns, source, target, threads=1):
    import duckdb

    packages = pathlib.Path(duckdb.__file__).parents[1]
    (extension,) = packages.glob("duckdb_extension_excel/extensions/*/excel.duckdb_extension")
    connection = duckdb.connect(config={"threads": threads})
    connection.execute(f"LOAD '{extension}'")
    connection.execute("SET preserve_insertion_order = true")
    connection.execute("SET TimeZone = 'UTC'")

    def typed(index, name, kind):
        column = f"c{index}"
        expression = {
            TEXT: f"nullif({column}, '')",
            TIME: f"strptime({column}, '%Y.%m.%d %H:%M:%S (GMT%z)')",
            DURATION: f"{column}[1:2]::BIGINT * 3600 + {column}[4:5]::BIGINT * 60 + {column}[7:8]::BIGINT",
            INTEGER: f"{column}::BIGINT",
            BOOL: f"{column} = '是'",
            KBPS: f"CASE WHEN suffix({column}, 'Mbps') THEN round({column}[:-5]::DOUBLE * 1000, 3) "
            f"WHEN {column} <> '-' THEN {column}[:-5]::DOUBLE END",
            MS: f"CASE WHEN {column} <> '-' THEN {column}[:-3]::DOUBLE END",
            PERCENT: f"CASE WHEN {column} <> '-' THEN {column}[:-2]::DOUBLE END",
        }[kind]
        return f"{expression} AS {name}"

    selected = ", ".join(typed(index, name, kind) for index, (name, kind) in enumerate(columns))
    names = ", ".join(f"c{index}" for index in range(len(columns)))
    connection.execute(
        f"COPY (SELECT {selected} FROM read_xlsx('{source}', all_varchar = true, header = true) AS sheet({names})) "
        f"TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3)"
    )


def duckdb_parallel(columns, source, target):
    import os

    duckdb(columns, source, target, threads=os.cpu_count())


PEERS = {"polars": polars, "fastexcel": fastexcel, "duckdb": duckdb, "duckdb-parallel": duckdb_parallel}

if __name__ == "__main__":
    peer, layout, source, target = sys.argv[1:]
    PEERS[peer](LAYOUTS[layout], source, target)
