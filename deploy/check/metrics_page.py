"""docs/metrics.md, out of what the programs say of their metrics: names, kinds, meanings and units are theirs, labels are those
of a real run in which every metric was seen. Used by observability_run.py, which makes that run."""

import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
# By the first word after `imchannel_`, or by `process`: who shows it.
PROGRAMS = {
    "every program": ("build", "nats", "process"),
    "imchannel-ingress": ("ingress",),
    "imchannel-normalizer": ("normalizer", "worker", "consumer", "stream"),
    "imchannel-sender": ("sender",),
    "imchannel-media": ("media",),
}
SUFFIXES = {"counter": "_total", "info": "_info"}
HEAD = """# Metrics

What `/metrics` of the admin port shows: OpenMetrics text where the request's `Accept` prefers it, as Prometheus's does, else the classic
text format. Written by `deploy/check/observability.sh --write` out of what the
programs say; the check fails while this page differs. Dashboards: `deploy/grafana`. Alerts: `deploy/prometheus/alerts.yml`, and
what to do about each: [runbook.md](runbook.md).

Counters begin with 0 at every start of a process, and a labelled one appears with its first event. Gauges of streams and
consumers come from every normalizer alike: take the maximum, not the sum.
"""


def unit(name, kind):
    for word, meaning in (("_seconds", "seconds"), ("_bytes", "bytes")):
        if name.endswith(word) or f"{word}_" in f"{name}_":
            return meaning
    return "1 = yes" if kind == "info" else "number"


def first_word(name):
    return name.removeprefix("imchannel_").split("_")[0]


def families(text):
    """Name, kind, meaning and labels of each family, in the order of the text."""
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
    """Why the page is not as it should be; None when it is, or was written."""
    wanted = page(text)
    if write:
        PAGE.write_text(wanted)
    if not PAGE.exists() or PAGE.read_text() != wanted:
        return "docs/metrics.md differs from what the programs say: deploy/check/observability.sh --write"
    return None
