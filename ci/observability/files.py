"""Checks of the rules, the dashboards and the runbook that need no running program: they must be consistent.

    python files.py IMCHANNEL      IMCHANNEL: the command line, of which only --help is run

Every fault is listed; exit code 1 if there is one. Needs PyYAML.
"""

import json
import pathlib
import re
import subprocess
import sys

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
RUNBOOK = DEPLOY.parent / "docs" / "runbook.md"
BOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
WIDTH = 24
# Labels whose values are in our own code; the values of the others are channels, instances and so on.
LABELS_OF_CODE = {"outcome", "kind", "method", "stream", "durable", "detail", "bsp"}

faults = []


def fault(text):
    faults.append(text)


def rules():
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def check_alerts(alerts, recorded):
    tests = yaml.safe_load((DEPLOY / "prometheus" / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    by_name = {test["name"]: test for test in tests}
    headings = re.findall(r"^#+ (Imchannel\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    for alert in alerts:
        name, texts = alert["alert"], alert.get("annotations", {})
        if alert.get("labels", {}).get("severity") not in ("page", "ticket"):
            fault(f"{name}: its severity is neither page nor ticket")
        if set(texts) != {"summary", "description", "runbook_url"}:
            fault(f"{name}: it must have summary, description and runbook_url")
        if texts.get("runbook_url") != f"docs/runbook.md#{name.lower()}":
            fault(f"{name}: its runbook_url is wrong")
        if headings.count(name) != 1:
            fault(f"{name}: {headings.count(name)} headings in docs/runbook.md")
        expected = [case for case in by_name.get(name, {}).get("promql_expr_test", []) if name in case["expr"]]
        if not any(case["exp_samples"] for case in expected):
            fault(f"{name}: no test in alerts_test.yml in which it fires")
        # A label that the expression does not have would be empty in the text.
        labels = labels_of(alert["expr"], recorded)
        for label in re.findall(r"\$labels\.(\w+)", " ".join(texts.values())):
            if label not in labels:
                fault(f"{name}: its texts use the label {label}, which its expression does not have")
    for heading in set(headings) - {alert["alert"] for alert in alerts}:
        fault(f"docs/runbook.md: there is no alert {heading}")


def check_sections(alerts):
    """Every alert's section says what it means, how to see it, what to do, and when it is over."""
    parts = re.split(r"^### (\w+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections = {name: re.split(r"^## ", text, flags=re.MULTILINE)[0] for name, text in zip(parts[1::2], parts[2::2])}
    for alert in alerts:
        name, text = alert["alert"], sections.get(alert["alert"], "")
        severity = alert.get("labels", {}).get("severity", "").capitalize()
        if not re.match(rf"\n{severity}\. \w", text):
            fault(f"docs/runbook.md: {name} must start with '{severity}.' and what it means")
        for what, pattern in (("how to see it", r"^- Look|^```sh|^\|"), ("what to do", r"^- Do:|^- Look and do:|\| do \|$"), ("how to know that it is over", r"^- Over: ")):
            if not re.search(pattern, text, re.MULTILINE):
                fault(f"docs/runbook.md: {name} does not say {what}")


def labels_of(expression, recorded):
    """The labels that an expression may have: from its `by`, its matchers, and the recorded series in it."""
    labels = set(re.findall(r"(\w+)=", expression))
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        labels |= {label.strip() for label in group.split(",")}
    for name, rule in recorded.items():
        if name in expression:
            labels |= labels_of(rule["expr"], {})
    # Only an expression without aggregation keeps the target's own labels.
    return labels | ({"job", "instance"} if " by (" not in expression and "sum(" not in expression else set())


def check_label_values(expressions):
    """Every value in a matcher must be in the code."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in (DEPLOY.parent / "crates").glob("*/src/**/*.rs"))
    protocol = "\n".join(path.read_text(encoding="utf-8") for path in (DEPLOY.parent / "proto").glob("**/*.proto"))
    for where, expression in expressions:
        for label, value in re.findall(r'(\w+)[!=]=?~?"([^"]*)"', expression):
            if label not in LABELS_OF_CODE or "$" in value or value in (".*", ".+"):
                continue
            for word in value.split("|"):
                if f'"{word}"' not in code and word not in protocol:
                    fault(f"{where}: the code has no {label}=\"{word}\"")


def check_layout(name, board):
    taken, ids = {}, set()
    for panel in board["panels"]:
        place, title = panel["gridPos"], panel.get("title", "")
        if panel["id"] in ids:
            fault(f"{name}: two panels have the id {panel['id']}")
        ids.add(panel["id"])
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if x >= WIDTH or (x, y) in taken:
                    fault(f"{name}: panel '{title}' overlaps '{taken.get((x, y), 'the edge')}'")
                taken[x, y] = title
    height = max(y for _, y in taken) + 1
    for y in range(height):
        if sum((x, y) in taken for x in range(WIDTH)) != WIDTH:
            fault(f"{name}: line {y} of the grid is not full")
    for panel in panels(board):
        title = panel.get("title", "")
        if not (title and panel.get("description") and panel["fieldConfig"]["defaults"].get("unit")):
            fault(f"{name}: panel '{title}' ({panel['id']}) lacks a title, a description or a unit")
        if any(target["datasource"]["uid"] != "${datasource}" for target in panel["targets"]):
            fault(f"{name}: panel '{title}' has another data source")
    return len(panels(board))


def check_commands(program):
    """The program must accept every `imchannel ...` line of the runbook."""
    text, checked = RUNBOOK.read_text(encoding="utf-8"), {}
    commands = re.findall(r"^(imchannel [^\n#]*)", text, re.MULTILINE) + re.findall(r"`(imchannel [^`\n]*)`", text)
    for command in commands:
        words = command.split()[1:]
        path = []
        for word in words:
            if not re.fullmatch(r"[a-z-]+", word) or word.startswith("-"):
                break
            path.append(word)
        helped = None
        while path and helped is None:  # the last words may be arguments
            done = checked.get(tuple(path))
            if done is None:
                run = subprocess.run([program, *path, "--help"], capture_output=True, text=True, check=False)
                done = checked[tuple(path)] = run.stdout if run.returncode == 0 else ""
            helped = done or None
            path = path if helped else path[:-1]
        if helped is None:
            fault(f"docs/runbook.md: there is no command `{command.strip()}`")
            continue
        for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", command):
            if not re.search(rf"(?<![\w-]){option}\b", helped):
                fault(f"docs/runbook.md: `{command.strip()}`: there is no option {option}")
    return len(commands)


def main():
    everything = rules()
    alerts = [rule for rule in everything if "alert" in rule]
    recorded = {rule["record"]: rule for rule in everything if "record" in rule}
    check_alerts(alerts, recorded)
    check_sections(alerts)
    boards = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in BOARDS}
    count = sum(check_layout(name, board) for name, board in boards.items())
    expressions = [(rule.get("alert") or rule["record"], rule["expr"]) for rule in everything]
    expressions += [(f"{name}: {panel['title']}", target["expr"])
                    for name, board in boards.items() for panel in panels(board) for target in panel["targets"]]
    check_label_values(expressions)
    commands = check_commands(sys.argv[1])
    for text in faults:
        print(f"FAIL {text}", file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"ok   {len(alerts)} alerts: each with severity, texts, a test, and in docs/runbook.md what it means, how to see it, what to do and when it is over")
    print(f"ok   {commands} commands in docs/runbook.md, and their options, exist")
    print(f"ok   {count} panels on {len(boards)} dashboards: no gaps, no overlaps, each with title, unit and description")


if __name__ == "__main__":
    main()
