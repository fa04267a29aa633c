"""docs/metrics.md from the programs' own metrics: names, types, help and units from the programs, labels from
a real run in which every metric appeared. Used by running.py, which makes that run."""

import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
# The program of a metric, by the first word after `imchannel_`, or `process`.
PROGRAMS = {
    "every program": ("build", "nats", "process"),
    "imchannel-ingress": ("ingress",),
    "imchannel-normalizer": ("normalizer", "worker", "consumer", "stream"),
    "imchannel-sender": ("sender",),
    "imchannel-media": ("media",),
    "imchannel-timeline": ("timeline",),
}
SUFFIXES = {"counter": "_total", "info": "_info"}
HEAD = """# Metrics

The metrics at `/metrics` of the admin port, as OpenMetrics text if the request's `Accept` prefers it (Prometheus does), otherwise in the
classic text format. `ci/observability.sh --write` writes this page from the running
programs; the check fails if the page is out of date. Dashboards: `deploy/grafana`. Alerts: `deploy/prometheus/alerts.yml`;
[runbook.md](runbook.md) says what to do about each.

Counters start at 0 with every start of a process, and a labeled counter appears with its first event. Every normalizer reports the
same gauges of streams and consumers: use the maximum, not the sum.
"""


def unit(name, kind):
    for word, meaning in (("_seconds", "seconds"), ("_bytes", "bytes")):
        if name.endswith(word) or f"{word}_" in f"{name}_":
            return meaning
    return "1 = yes" if kind == "info" else "number"


def first_word(name):
    return name.removeprefix("imchannel_").split("_")[0]


def families(text):
    """Name, type, help and labels of each family, in the order of the text."""
    found, current = {}, None
    for line in text.splitlines():
        if match := re.match(r"# HELP (\S+) (.*)", line):
            current = found.setdefault(match[1], {"kind": "", "help": match[2].rstrip("."), "labels": []})
        elif match := re.match(r"# TYPE (\S+) (\S+)", line):
            found[match[1]]["kind"] = match[2]
        elif current is not None and (match := re.match(r"\w+\{(.*)\} ", line)):
            for label in re.findall(r'(\w+)="', match[1]):
                if label != "le" and label not in current["labels"]:
                    current["labels"].append(label)
    return found


def page(text):
    found = families(text)
    parts = [HEAD]
    for program, prefixes in PROGRAMS.items():
        rows = []
        for name in [name for name in found if first_word(name) in prefixes]:
            family = found.pop(name)
            labels = ", ".join(f"`{label}`" for label in family["labels"])
            shown = name + SUFFIXES.get(family["kind"], "")
            rows.append(f"| `{shown}` | {family['kind']} | {unit(name, family['kind'])} | {labels} | {family['help']} |")
        parts.append(f"\n## {program[0].upper() + program[1:] if program.startswith('every') else f'`{program}`'}\n\n"
                     "| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n")
    assert not found, f"no program for {sorted(found)}"
    return "".join(parts)


def fault(text, write):
    """The fault of the page; None if it is up to date, or was written."""
    wanted = page(text)
    if write:
        PAGE.write_text(wanted)
    if not PAGE.exists() or PAGE.read_text() != wanted:
        return "docs/metrics.md differs from what the programs say: ci/observability.sh --write"
    return None
