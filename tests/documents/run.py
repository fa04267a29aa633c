#!/usr/bin/env python3
"""Runs the commands of the documents as they are printed.

    tests/documents/run.py                       every block `test=up` and `test=locked-down`
    tests/documents/run.py --check               only checks that every block has its tag and names its user
    tests/documents/run.py --document docs/runbook.md --keep

Each document and kind of installation gets a fresh installation and its own shell: the blocks run in order with
`bash -euo pipefail`, and share variables and the working directory, as for a reader. Exit code 1 if one fails.
"""
import argparse
import itertools
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import blocks as documents
import elsewhere
import installation

KINDS = {
    "up": installation.Up,
    "locked-down": installation.LockedDown,
    "kubernetes": elsewhere.StandIns,
    # With the variable IMAGES, which ci/documents.sh sets if there is an engine.
    "compose": elsewhere.Compose if "IMAGES" in os.environ else elsewhere.StandIns,
}
# The terminal size for blocks with until=….
ROWS, COLUMNS = 50, 200
ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[()][0-9A-B]|[=>78])")


def script(block, folder, text):
    """The script that runs a block in its document's shell."""
    state, place = folder / ".documents-state", folder / ".documents-folder"
    return (
        f"set -a\n[ ! -f '{state}' ] || . '{state}' 2>/dev/null\n[ ! -f '{place}' ] || cd \"$(cat '{place}')\"\n"
        f"trap 'code=$?; export -p >\"{state}\"; pwd >\"{place}\"; exit $code' EXIT\n"
        f"set -euo pipefail\n{text}\n"
    )


def run(block, place):
    """Runs a block; returns the fault, or None."""
    command = ["bash", "-c", script(block, place.folder, place.rewritten(block.text))]
    if "until" in block.attributes:
        return run_until(block, place, command)
    try:
        # A separate process group, so that programs that it leaves running end with it.
        process = subprocess.Popen(
            command, cwd=place.folder, env=place.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True)
        output, _ = process.communicate(timeout=place.limit_s)
    except SystemExit:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return f"it did not exit within {place.limit_s} s (until=…?)\n{output.decode(errors='replace')}"
    output = output.decode(errors="replace")
    expected = int(block.attributes.get("exit", "0"))
    if process.returncode != expected:
        return f"exit code {process.returncode}, not {expected}\n{output}"
    if block.attributes.get("expect", "") not in output:
        return f"the output does not have {block.attributes['expect']!r}\n{output}"
    return None


def run_until(block, place, command):
    """Runs a block on a terminal until it shows the text."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(place.folder)
        os.execvpe(command[0], command, {**place.environment, "LINES": str(ROWS), "COLUMNS": str(COLUMNS)})
    import fcntl, struct, termios
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    wanted, seen = block.attributes["until"].encode(), b""
    deadline = time.monotonic() + place.limit_s
    try:
        while wanted not in ESCAPES.sub(b"", seen):
            if time.monotonic() > deadline:
                return f"it did not show {wanted.decode()!r} within {place.limit_s} s\n{seen.decode(errors='replace')}"
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                piece = b""
            if not piece:
                return f"it ended before it showed {wanted.decode()!r}\n{seen.decode(errors='replace')}"
            seen += piece
        return None
    finally:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(terminal)


def run_document(name, kind, of_document, options):
    """Runs a document's blocks of one kind; returns the places of failed blocks."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="imchannel-documents-"))
    began = time.monotonic()
    failed = []
    place = KINDS[kind](options.root, options.programs, folder, [block.text for block in of_document])
    try:
        place.begin()
        print(f"     {name}: an installation {kind} after {time.monotonic() - began:.1f} s", flush=True)
        for block in of_document:
            began_block = time.monotonic()
            fault = run(block, place)
            took = time.monotonic() - began_block
            print(f"{'FAIL' if fault else 'ok  '} {block.place} ({took:.1f} s)", flush=True)
            if fault:
                failed.append(block.place)
                print(f"{block.text}\n-- {fault}".replace("\n", "\n     | "), flush=True)
    except RuntimeError as error:
        failed.append(f"{name} ({kind})")
        print(f"FAIL {name}: no installation {kind}: {error}", flush=True)
    finally:
        place.stop()
        if options.keep:
            print(f"     kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2], type=pathlib.Path)
    parser.add_argument("--programs", type=pathlib.Path, help="folder of the built programs [default: target/debug]")
    parser.add_argument("--document", help="this one only")
    parser.add_argument("--kind", action="append", choices=KINDS, help="[default: up and locked-down]")
    parser.add_argument("--check", action="store_true", help="run nothing")
    parser.add_argument("--keep", action="store_true", help="leave the scratch folders, with the logs")
    options = parser.parse_args()
    options.programs = (options.programs or options.root / "target/debug").resolve()
    # `./dev test` ends it when another check has failed: its servers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    found, faults = documents.load(options.root)
    for fault in faults:
        print(f"FAIL {fault}")
    counts = {kind: sum(block.test == kind for block in found) for kind in documents.TESTS}
    print("     blocks: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()) +
          f", {sum(block.language != documents.COMMANDS for block in found)} of data")
    failed = [] if not faults else ["tags"]
    if not options.check:
        chosen = [block for block in found if block.test in (options.kind or ["up", "locked-down"]) and options.document in (None, block.document)]
        key = lambda block: (block.document, block.test)
        for (name, kind), of_document in itertools.groupby(sorted(chosen, key=key), key):
            failed += run_document(name, kind, list(of_document), options)
    print(f"{'FAIL' if failed else 'ok  '} documents: {time.monotonic() - began:.0f} s"
          + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
