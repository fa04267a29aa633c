"""Drills alerts with the runbook: real faults in real installations, the real rules in a real Prometheus, the commands of docs/runbook.md.

    python run.py PROGRAMS PROMETHEUS FOLDER [--all] [--only FAULT] [--report FILE]

`for` times of the rules are as they are, so it takes nine minutes; --all adds those that take longer. All faults are drilled
side by side: four installations, each with faults that do not disturb one another. --report writes what was done.
"""

import argparse
import concurrent.futures
import os
import pathlib
import signal
import subprocess
import sys
import time
import traceback

from drill import Drill
from faults import channels, dead_letters, events_full, events_not_read, nats_killed, normalizer_killed, paused, redis_killed, sequence_back
from faults import spool_abandoned, spool_aside, spool_disk, spool_filling, spool_old, wrong_key, wrong_password
from installation import Installation
from ports import free_port
from runbook import Wrong

AHEAD = "+1230m"  # 20.5 hours; a command is answered EXPIRED after 23

# The faults of each installation, in order. The second list runs only with --all.
LINES = [("lanes", [wrong_key]), ("lanes", [paused]), ("lanes", [dead_letters, normalizer_killed]), ("lanes", [redis_killed]),
         ("bus", [nats_killed, sequence_back]), ("bus", [spool_disk]), ("streams", [events_full]), ("spool", [spool_filling, spool_old, spool_aside])]
# Their alerts take ten minutes to fire, or count ten and end that long after the repair.
LONG_LINES = [("lanes", [wrong_password]), ("unread", [events_not_read]), ("claim", [spool_abandoned])]


def name_of(fault):
    return fault.__name__.rsplit(".", 1)[-1]


def make(name, programs, prometheus, folder):
    """A healthy installation with everything that its faults need."""
    if name == "lanes":
        ports = [free_port(), free_port()]
        file = channels.channel(wrong_key.NAME, ports[0]) + channels.channel(paused.NAME, ports[1]) + wrong_password.text(free_port())
        made = Installation(programs, prometheus, folder / name, file, clocks={"sender": AHEAD})
        wrong_key.prepare(made, ports[0])
        paused.prepare(made, ports[1])
        channels.give_key(made, wrong_password.NAME)
        made.start_reader()
    elif name == "streams":
        made = Installation(programs, prometheus, folder / name, events_full.text(free_port()), sizes=events_full.SIZES)
        channels.give_key(made, events_full.NAME)
    elif name == "unread":
        made = Installation(programs, prometheus, folder / name, events_not_read.text(free_port()))
        channels.give_key(made, events_not_read.NAME)
    elif name == "spool":
        made = Installation(programs, prometheus, folder / name, spool_filling.text())
        made.start_reader()
    elif name == "claim":
        made = Installation(programs, prometheus, folder / name, spool_abandoned.text(), pod=spool_abandoned.POD)
        made.start_reader()
    else:
        made = Installation(programs, prometheus, folder / name, nats_killed.text(free_port()))
        channels.give_key(made, nats_killed.NAME)
        spool_disk.prepare(made)
        made.start_reader()
    return made


def run_line(faults, installation):
    """Drills faults one after another; returns the drills and the failures."""
    drills = []
    for fault in faults:
        drill = Drill(name_of(fault), installation)
        drills.append(drill)
        try:
            fault.run(drill)
        except Wrong as wrong:
            return drills, str(wrong)
        except Exception:  # an error of the drill itself is a failure too
            return drills, f"{drill.name}: {traceback.format_exc()}"
        drill.took = time.monotonic() - drill.began
        print(f"ok   drill {drill.name}: {', '.join(drill.fired)}, with the runbook, in {drill.took:.0f} s", flush=True)
    return drills, None


def report(drills, version):
    lines = ["# Alerts drilled by the runbook", "",
             "Written by `ci/drills/run.py --report`. Each alert fired from the fault, in a real Prometheus with the real rules; the commands "
             "are those of [docs/runbook.md](../../docs/runbook.md), in its order.", "", version, "",
             "| fault | alerts | seconds |", "|---|---|---|"]
    lines += [f"| {drill.name} | {', '.join(drill.fired)} | {drill.took:.0f} |" for drill in drills]
    for drill in drills:
        lines += ["", f"## {drill.name}", "", *drill.lines]
    return "\n".join(lines) + "\n"


def stop_all(installations):
    """Stops everything when the drills are interrupted, without waiting for them: no server is left behind."""
    def stop(_signal, _frame):
        for installation in installations.values():
            installation.stop()
        os._exit(130)
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, stop)


def main():
    args = argparse.ArgumentParser()
    for name in ("programs", "prometheus", "folder"):
        args.add_argument(name)
    args.add_argument("--all", action="store_true")
    args.add_argument("--only", action="append", default=[])
    args.add_argument("--report", type=pathlib.Path)
    args = args.parse_args()
    lines = LINES + (LONG_LINES if args.all or args.only else [])
    if args.only:
        lines = [(place, [fault for fault in faults if name_of(fault) in args.only]) for place, faults in lines]
        lines = [line for line in lines if line[1]]
    folder = pathlib.Path(args.folder)
    installations, faults, drills = {}, [], []
    stop_all(installations)
    try:
        for name in dict.fromkeys(place for place, _ in lines):
            installations[name] = make(name, args.programs, args.prometheus, folder)
        with concurrent.futures.ThreadPoolExecutor(len(lines)) as pool:
            running = [pool.submit(run_line, line, installations[place]) for place, line in lines]
            for done in concurrent.futures.as_completed(running):
                made, wrong = done.result()
                drills += made
                if wrong:
                    print(f"FAIL {wrong}", file=sys.stderr, flush=True)
                    faults.append(wrong)
    except Wrong as wrong:
        print(f"FAIL {wrong}", file=sys.stderr, flush=True)
        faults.append(str(wrong))
    finally:
        for installation in installations.values():
            installation.stop()
    if faults:
        for drill in drills:
            print(f"--- {drill.name}", *drill.lines, sep="\n", file=sys.stderr)
        sys.exit(1)
    if args.report:
        args.report.parent.mkdir(parents=True, exist_ok=True)
        args.report.write_text(report(drills, versions(args.programs, args.prometheus)))


def versions(programs, prometheus):
    first = lambda *command: subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()[0]
    found = [first("nats-server", "--version"), first("redis-server", "--version").split(" sha")[0], first(prometheus, "--version").split(" (")[0],
             first(f"{programs}/imchannel", "--version")]
    return f"On {', '.join(found)}, {time.strftime('%Y-%m-%d')}."


if __name__ == "__main__":
    main()
