"""Runs every tool on every workbook, in turn, and says what it cost. Called by tests/bench/run.

A round runs each tool once, one after the other, each in its own process; figures are medians over the rounds. Wall time is this
process's clock around the child; CPU and peak memory are the kernel's account of the child (wait4). This process imports nothing large,
because a child's peak begins with its parent's.

The layout `day` is the road that people drive: `nightly` is a whole run that submits an export, polls it, downloads the file from a
simulated Feishu in a process of its own, and publishes the day with its pack and manifest. It waits some ten seconds before its first
poll, whatever the file; a run with a file of one row says how long, and that is taken off its wall time.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
PEERS = ["polars", "fastexcel", "duckdb", "duckdb-parallel"]
TOOLS = ["nightly", "meetlake", *PEERS, "inflate"]
HEADERS = {"meeting": "meeting", "day": "meeting", "quality": "quality"}  # whose columns a layout has
QUALITY_KEY = ["meeting_no=123456789", "meeting_start_time=2026-10-12T02:00:00Z", "join_time=2026-10-12T02:00:00Z", "user_id=1a2b3c4d"]


def arguments():
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.splitlines()[0])
    listed = lambda text: text.split(",")
    parser.add_argument("--quick", action="store_true", help="10,000 and 100,000 rows, two rounds, no goals: a smoke test")
    parser.add_argument("--rows", type=lambda text: [int(n) for n in text.split(",")], help="default 10000,100000,1000000")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--only", type=listed, default=TOOLS, help=f"tools, of {','.join(TOOLS)}")
    parser.add_argument("--layouts", type=listed, default=["meeting", "quality", "day"], help="default meeting,quality,day")
    parser.add_argument("--strings", type=listed, default=["shared", "inline"], help="default shared,inline")
    parser.add_argument("--orders", type=listed, default=["time", "number"], help="order of the rows in a meeting sheet; default time,number")
    parser.add_argument("--quality-rows", type=int, default=100_000, help="the most rows of a quality sheet; default 100000")
    parser.add_argument("--json", type=pathlib.Path, help="where the figures go; default FOLDER/results.json")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    chosen.rows = chosen.rows or ([10_000, 100_000] if chosen.quick else [10_000, 100_000, 1_000_000])
    chosen.rounds = chosen.rounds or (2 if chosen.quick else 5)
    unknown = [tool for tool in chosen.only if tool not in TOOLS]
    if unknown:
        parser.error(f"no such tool: {', '.join(unknown)}")
    return chosen


def cases(chosen):
    for layout in chosen.layouts:
        # A quality sheet has one order: its key is the time.
        orders = ["time"] if layout == "quality" else chosen.orders
        rows_of = chosen.rows if layout != "quality" else sorted({min(rows, chosen.quality_rows) for rows in chosen.rows})
        for strings in chosen.strings:
            for order in orders:
                for rows in rows_of:
                    yield layout, strings, order, rows


def tools(chosen, layout):
    return [tool for tool in chosen.only if tool != "nightly" or layout == "day"]


def workbook(chosen, case):
    layout, strings, order, rows = case
    path = chosen.folder / "files" / f"{layout}-{strings}-{order}-{rows}.xlsx"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Workbooks are a pure function of their name and of the generator.
    generator = chosen.programs / "meetlake-bench"
    if not path.exists() or path.stat().st_mtime < generator.stat().st_mtime:
        subprocess.run([generator, "generate", layout, strings, order, str(rows), path], check=True)
    return path


def command(chosen, tool, layout, source, target):
    if tool == "inflate":
        return [chosen.programs / "meetlake-bench", "inflate", source]
    if tool == "meetlake":
        dataset = {"meeting": "meeting_list", "quality": "participant_quality_list"}[HEADERS[layout]]
        settings = [f"--set={setting}" for setting in (QUALITY_KEY if layout == "quality" else [])]
        return [chosen.programs / "meetlake", "convert", "--dataset", dataset, *settings, "--out", target, source]
    return [sys.executable, HERE / "peers.py", tool, HEADERS[layout], source, target]


def nightly(chosen, source, target):
    """What a run costs whose export is the workbook."""
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        feishu = [chosen.programs / "meetlake-bench", "serve", source, folder]
        with subprocess.Popen(feishu, stdout=subprocess.PIPE) as server:
            try:
                server.stdout.readline()
                config = f"--config={folder}/meetlake.toml"
                day = ["--from", "2026-10-01", "--to", "2026-10-02"]
                figures = cost([chosen.programs / "meetlake", "backfill", config, *day])
            finally:
                server.kill()
        object_path = pathlib.Path(folder, "lake/meeting_list/tenant=acme/dt=2026-10-01/part-0.parquet")
        object_path.replace(target)
    return figures


def one_row(chosen):
    """Seconds of a run with a file of one row: mostly the wait before the first poll."""
    source = workbook(chosen, ("day", "shared", "time", 1))
    return nightly(chosen, source, chosen.folder / "one-row.parquet")["wall_s"]


def cost(words):
    words = [str(word) for word in words]
    quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    before = time.perf_counter()
    child = os.posix_spawn(words[0], words, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - before
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"failed: {' '.join(words)}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def measure(chosen, case):
    layout, strings, order, rows = case
    source = workbook(chosen, case)
    used = tools(chosen, layout)
    targets = {tool: chosen.folder / f"out-{tool}.parquet" for tool in used}
    rounds = {tool: [] for tool in used}
    for number in range(chosen.rounds):
        for tool in used:
            print(f"\r{source.name}: round {number + 1} of {chosen.rounds}, {tool:<16}", end="", file=sys.stderr)
            targets[tool].unlink(missing_ok=True)
            if tool == "nightly":
                figures = nightly(chosen, source, targets[tool])
                figures["wait_s"] = one_row(chosen)
                figures["wall_s"] -= figures["wait_s"]
            else:
                figures = cost(command(chosen, tool, layout, source, targets[tool]))
            rounds[tool].append(figures)
    print(file=sys.stderr)
    written = [tool for tool in used if tool != "inflate"]
    if written and written[0] in ("nightly", "meetlake"):
        check = [sys.executable, str(HERE / "compare.py"), HEADERS[layout], *(str(targets[tool]) for tool in written)]
        checked = subprocess.run(check, check=False, stdout=subprocess.PIPE, text=True)
        if checked.returncode != 0:
            sys.exit(f"{source.name}: the outputs differ")
        print(checked.stdout, end="", file=sys.stderr)
    figures = {}
    for tool, runs in rounds.items():
        median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        median["least_wall_s"] = min(run["wall_s"] for run in runs)
        if targets[tool].exists():
            median["output_mb"] = targets[tool].stat().st_size / 1e6
            targets[tool].unlink()
        figures[tool] = median
    named = dict(zip(("layout", "strings", "order", "rows"), case))
    return {**named, "input_mb": source.stat().st_size / 1e6, "medians": figures, "runs": rounds}


def table(result):
    """A case as lines of Markdown: ratios above 1 say that meetlake (its nightly run, where there is one) is better."""
    ours = result["medians"].get("nightly") or result["medians"].get("meetlake")
    lines = [
        f"### {result['layout']}, {result['strings']} strings, by {result['order']}: {result['rows']:,} rows, {result['input_mb']:.1f} MB",
        "| tool | wall s | CPU s | peak MB | output MB | wall ratio | CPU ratio | peak ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for tool, of in result["medians"].items():
        ratio = lambda name: f"{of[name] / ours[name]:.2f}" if ours else ""
        size = f"{of['output_mb']:.2f}" if "output_mb" in of else ""
        ratios = " | ".join(ratio(name) for name in ("wall_s", "cpu_s", "peak_mb"))
        lines.append(f"| {tool} | {of['wall_s']:.3f} | {of['cpu_s']:.3f} | {of['peak_mb']:.0f} | {size} | {ratios} |")
    return "\n".join(lines)


def small_exports(chosen):
    """The many small exports of a day: from bytes to record batch, and to a published partition of 100 and of 10 times as many."""
    program = str(chosen.programs / "meetlake-bench")
    said = lambda *words: subprocess.run([program, *words], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    lines = []
    for layout in ("participants", "quality"):
        runs = sorted(said("batch", layout, "2000") for _ in range(chosen.rounds))
        lines.append(runs[len(runs) // 2])
        for exports in (100, 1000):
            with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
                lines.append(said("publish", layout, str(exports), folder))
    return lines


def goals(results):
    """What was to be reached at a million rows, and what was."""
    lines = []
    for result in results:
        medians = result["medians"]
        if result["layout"] != "meeting" or result["rows"] != 1_000_000 or "meetlake" not in medians:
            continue
        ours, shared = medians["meetlake"], result["strings"] == "shared"
        case = f"{result['strings']}, by {result['order']}"

        def say(what, value, must, stretch, at_least=True):
            reaches = lambda goal: goal and (value >= goal if at_least else value <= goal)
            reached = "stretch" if reaches(stretch) else "must" if reaches(must) else "no"
            sign = "≥" if at_least else "≤"
            lines.append(f"| {case} | {what} | {value:.2f} | {sign} {must} | {sign} {stretch} | {reached} |")

        peers = [medians[peer]["wall_s"] for peer in PEERS if peer in medians]
        if peers:
            faster = min(peers) / ours["wall_s"]
            say("times as fast as the fastest peer", faster, *((5, 8) if shared else (7, 12)))
        if "polars" in medians:
            less = medians["polars"]["peak_mb"] / ours["peak_mb"]
            say("polars' peak memory over ours", less, *((5, 8) if shared else (8, 20)))
        if "inflate" in medians:
            floor = ours["wall_s"] / medians["inflate"]["wall_s"]
            say("wall over inflate alone", floor, 2.5, 1.6, at_least=False)
        small = next((r for r in results if r["rows"] == 10_000 and all(r[k] == result[k] for k in ("layout", "strings", "order"))), None)
        if small:
            growth = (ours["wall_s"] / 1_000_000) / (small["medians"]["meetlake"]["wall_s"] / 10_000)
            say("time per row, 1,000,000 over 10,000 rows", growth, 1.15, 1.15, at_least=False)
    if not lines:
        return ""
    return "\n".join(["### Goals", "| case | what | measured | must | stretch | reached |", "|---|---|---|---|---|---|", *lines])


def main():
    chosen = arguments()
    results = []
    for case in cases(chosen):
        results.append(measure(chosen, case))
        print(table(results[-1]), end="\n\n", flush=True)
    print(goals(results))
    small = small_exports(chosen)
    print("\n### Small exports\n", *small, sep="\n")
    path = chosen.json or chosen.folder / "results.json"
    machine = {"cores": os.cpu_count(), "rounds": chosen.rounds, "load_average": os.getloadavg()}
    path.write_text(json.dumps({"machine": machine, "results": results, "small_exports": small}, indent=1))
    print(f"\nall figures: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
