#!/usr/bin/env python3
"""Where does the CPU time of a part of the benchmarks go?

    bench/measure/profile.py PART [ARGS of `imchannel-bench run`, such as --seconds 5] > bench/profiles/PART.txt

`perf` samples every CPU while `target/release/imchannel-bench run --only PART` measures. The answer names the programs, what share of the
samples each has, and the functions in which they were. Needs Linux, `perf` and the right to sample the kernel. `bench/notes.json` quotes
these files for rows that do not reach their aim.
"""

import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile
import threading

BENCH = "target/release/imchannel-bench"
# Samples a second of each CPU. No round number, so that what runs at intervals is not always met or missed.
FREQUENCY = 499
# Share of all samples below which a program's functions are not listed.
SHARE_MIN = 0.04
FUNCTIONS = 25
# `perf script -F pid,sym,dso`: 4711 symbol+0x… (file)
SAMPLE = re.compile(r"^\s*(\d+)\s+(?:[0-9a-f]+\s+)?(.*) \(([^()]*)\)$")


class Programs:
    """What the processes are called, asked while they run."""

    def __init__(self):
        self.names = {}
        self.is_over = threading.Event()

    def follow(self):
        while not self.is_over.wait(0.2):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                if name := name_of(pid):
                    self.names[int(pid)] = name


def name_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            words = file.read().split("\0")
    except OSError:
        return None
    name = os.path.basename(words[0])
    return f"{name} {words[1]}" if name == "imchannel-bench" and len(words) > 1 else name


def samples(recorded):
    """Process, function and file of each sample."""
    script = ["perf", "script", "--input", recorded, "--fields", "pid,ip,sym,dso"]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as perf:
        for line in perf.stdout:
            if match := SAMPLE.match(line):
                yield int(match[1]), match[2], match[3]


def short(function):
    """A function's name without type parameters and offsets, at most 100 characters."""
    function = re.sub(r"\+0x[0-9a-f]+$", "", function)
    while (shorter := re.sub(r"<[^<>]*>", "", function)) != function:
        function = shorter
    return re.sub(r"(::)+", "::", function).strip(":")[:100]


def report(recorded, names):
    functions = collections.defaultdict(collections.Counter)
    kernel = collections.Counter()
    for pid, function, file in samples(recorded):
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part")
    args, more = parser.parse_known_args()
    programs = Programs()
    threading.Thread(target=programs.follow, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        recorded, page = os.path.join(folder, "perf.data"), os.path.join(folder, "BENCHMARKS.md")
        run = [BENCH, "run", "--only", args.part, "--report", page, *more]
        perf = ["perf", "record", "--all-cpus", "--freq", str(FREQUENCY), "--output", recorded, "--", *run]
        done = subprocess.run(perf, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        programs.is_over.set()
        # 3: rows are refused. The functions are the same.
        if done.returncode not in (0, 3):
            sys.exit(f"{' '.join(perf)} failed with exit code {done.returncode}:\n{done.stderr[-2000:]}")
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
        server = subprocess.run(["nats-server", "--version"], capture_output=True, text=True, check=False).stdout.strip()
        print(f"bench/measure/profile.py {' '.join(sys.argv[1:])}\ncommit {commit}, {server}, {FREQUENCY} samples a second of each CPU")
        report(recorded, programs.names)


if __name__ == "__main__":
    main()
