#!/usr/bin/env python3
"""Where does the CPU time of a part of the benchmarks go?

    bench/measure/profile.py PART [--after TEXT] [--until TEXT] [--while PROGRAM] [ARGS of `imchannel-bench run`] > bench/profiles/PART.txt

`perf` samples every CPU while `target/release/imchannel-bench run --only PART` measures. The answer names the programs, what share of the
samples each has, and the functions in which they were. Samples count from the first line with the text of `--after` that the benchmark
prints, up to the next line with that of `--until`, and while a process of the program `--while` runs. Needs Linux, `perf` and the right to
sample the kernel. `bench/notes.json` quotes these files for rows that do not reach their aim.
"""

import argparse
import collections
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time

BENCH = "target/release/imchannel-bench"
# Samples a second of each CPU. No round number, so that what runs at intervals is not always met or missed.
FREQUENCY = 499
# Share of all samples below which a program's functions are not listed.
SHARE_MIN = 0.04
FUNCTIONS = 25
# `perf script -F pid,time,ip,sym,dso`: 4711 15294.551234: 7f00… symbol+0x… (file)
SAMPLE = re.compile(r"^\s*(\d+)\s+([\d.]+):\s+(?:[0-9a-f]+\s+)?(.*) \(([^()]*)\)$")


class Programs:
    """What the processes are called, and from when to when they ran, asked while they run."""

    def __init__(self):
        self.names = {}
        self.seen = {}
        self.is_over = threading.Event()

    def follow(self):
        while not self.is_over.wait(0.05):
            now = time.monotonic()
            for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
                if name := name_of(pid):
                    self.names[pid] = name
                self.seen[pid] = (self.seen.get(pid, (now, now))[0], now)

    def times(self, program):
        """From when to when each process of a program ran."""
        return [self.seen[pid] for pid, name in self.names.items() if name == program]


def name_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            words = file.read().split("\0")
    except OSError:
        return None
    name = os.path.basename(words[0])
    return f"{name} {words[1]}" if name == "imchannel-bench" and len(words) > 1 else name


def samples(recorded, times):
    """Process, function and file of each sample within the times."""
    script = ["perf", "script", "--input", recorded, "--fields", "pid,time,ip,sym,dso"]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as perf:
        for line in perf.stdout:
            match = SAMPLE.match(line)
            if match and any(begin <= float(match[2]) <= end for begin, end in times):
                yield int(match[1]), match[3], match[4]


def overlap(times, begin, end):
    """The parts of the times that are between begin and end."""
    return [(max(begin, first), min(end, last)) for first, last in times if first < end and last > begin]


class Output:
    """The lines that the benchmark prints, with their times."""

    def __init__(self):
        self.lines = []

    def read(self, stream):
        for line in stream:
            self.lines.append((time.monotonic(), line))

    def first(self, text, from_time):
        """The time of the first line with a text."""
        found = next((at for at, line in self.lines if at > from_time and text in line), None)
        if found is None:
            sys.exit(f"the benchmark printed no line with {text!r}:\n{''.join(line for _, line in self.lines)}")
        return found


def short(function):
    """A function's name without type parameters and offsets, at most 100 characters."""
    function = re.sub(r"\+0x[0-9a-f]+$", "", function)
    while (shorter := re.sub(r"<[^<>]*>", "", function)) != function:
        function = shorter
    return re.sub(r"(::)+", "::", function).strip(":")[:100]


def report(recorded, names, times):
    functions = collections.defaultdict(collections.Counter)
    kernel = collections.Counter()
    for pid, function, file in samples(recorded, times):
        name = names.get(pid, "others") if pid else None
        if name is None:
            continue
        is_kernel = file.startswith("[") and file != "[vdso]"
        kernel[name] += is_kernel
        functions[name]["kernel: " + short(function) if is_kernel else short(function)] += 1
    total = sum(counter.total() for counter in functions.values())
    ordered = sorted(functions, key=lambda name: -functions[name].total())
    print("\nprogram                              share   of it in the kernel")
    for name in ordered:
        count = functions[name].total()
        if count >= total / 100:
            print(f"{name:36} {count / total:5.1%}   {kernel[name] / count:5.1%}")
    for name in ordered:
        count = functions[name].total()
        if count >= total * SHARE_MIN:
            print(f"\n{name}")
            for function, of in functions[name].most_common(FUNCTIONS):
                print(f"  {of / count:5.1%}  {function}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part")
    parser.add_argument("--after", metavar="TEXT")
    parser.add_argument("--until", metavar="TEXT")
    parser.add_argument("--while", metavar="PROGRAM", dest="program")
    return parser.parse_known_args()


def record(perf, output):
    """Runs the benchmark under perf."""
    with subprocess.Popen(perf, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        errors = []
        reader = threading.Thread(target=lambda: errors.append(running.stderr.read()), daemon=True)
        reader.start()
        output.read(running.stdout)
        reader.join()
    # 3: rows are refused. The functions are the same.
    if running.returncode not in (0, 3):
        sys.exit(f"{' '.join(perf)} failed with exit code {running.returncode}:\n{errors[0][-2000:]}")


def main():
    args, more = parse()
    programs, output = Programs(), Output()
    threading.Thread(target=programs.follow, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        recorded, page = os.path.join(folder, "perf.data"), os.path.join(folder, "BENCHMARKS.md")
        run = [BENCH, "run", "--only", args.part, "--report", page, *more]
        # The clock of `time.monotonic`.
        perf = ["perf", "record", "--clockid", "CLOCK_MONOTONIC", "--all-cpus", "--freq", str(FREQUENCY), "--output", recorded, "--", *run]
        record(perf, output)
        programs.is_over.set()
        begin = output.first(args.after, 0) if args.after else 0
        end = output.first(args.until, begin) if args.until else float("inf")
        times = programs.times(args.program) if args.program else [(0, float("inf"))]
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
        server = subprocess.run(["nats-server", "--version"], capture_output=True, text=True, check=False).stdout.strip()
        print(f"bench/measure/profile.py {shlex.join(sys.argv[1:])}\ncommit {commit}, {server}, {FREQUENCY} samples a second of each CPU")
        report(recorded, programs.names, overlap(times, begin, end))


if __name__ == "__main__":
    main()
