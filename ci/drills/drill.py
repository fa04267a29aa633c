"""One drill: a real fault fires an alert, the drill follows its link, runs the runbook's commands in order, does the repair,
and the alert ends. Everything is recorded for the report.
"""

import time

from parts import until
from runbook import Section, Wrong, one_line, words

OUTPUT_LINES_MAX = 14


def readable(command, text, wanted):
    """The lines for the report: of doctor the faults and the expected texts, of a screen the last expected line."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    has_wanted = lambda line: any(part in line for part in wanted)
    if command[1] == "top":
        return [line for line in lines if has_wanted(line)][-1:]
    if command[1] != "doctor":
        return lines
    kept, is_wrong = [], False
    for line in lines:
        is_wrong = line.startswith("error") or (is_wrong and line.startswith(" "))
        if is_wrong or has_wanted(line):
            kept.append(line)
    return [*kept, lines[-1]] if lines else []


class Drill:
    """`name`: of the fault. `installation`: where it happens."""

    def __init__(self, name, installation):
        self.name, self.installation, self.lines, self.section, self.began = name, installation, [], None, time.monotonic()
        self.fired, self.took = {}, 0

    def note(self, text):
        self.lines.append(f"- {time.monotonic() - self.began:4.0f} s: {text}")

    def firing(self, alert, labels):
        for found in self.installation.alerts():
            if found["labels"]["alertname"] == alert and labels.items() <= found["labels"].items():
                return found
        return None

    def fires(self, alert, within_s, **labels):
        """Waits until the alert fires, and opens the section that its annotation links to."""
        until(f"{self.name}: {alert} fires", lambda: self.firing(alert, labels), within_s)
        found = self.firing(alert, labels)
        self.fired[alert] = labels
        self.note(f"**{alert}** fires: {found['annotations']['summary']}")
        return self.opens(found["annotations"]["runbook_url"])

    def opens(self, link):
        self.section = Section(link)
        self.note(f"opens `{link}`")
        return self.section

    def follows(self, anchor):
        """Follows a link of the present section."""
        return self.opens(self.section.leads_to(anchor))

    def runs(self, beginning, shows=(), code=0, answer=None, **places):
        """Runs the next command of the section's blocks; its output must contain these texts. `answer`: the command asks, and there is no terminal, so
        an option gives the answer."""
        return self.typed(self.section.next(beginning), shows, code, answer, places)

    def runs_inline(self, beginning, shows=(), code=0, answer=None, **places):
        """Runs a command from a sentence of the section."""
        return self.typed(self.section.inline(beginning), shows, code, answer, places)

    def typed(self, command, shows, code, answer, places):
        typed = words(command, places) + (["--yes"] if answer else [])
        found, text = self.installation.run(typed[1:])
        wanted = [shows] if isinstance(shows, str) else list(shows)
        lines = readable(typed, text.replace(str(self.installation.folder), "…"), wanted)
        shown = lines if len(lines) <= OUTPUT_LINES_MAX else [*lines[:OUTPUT_LINES_MAX], f"… {len(lines) - OUTPUT_LINES_MAX} lines more"]
        self.note(f"types `{' '.join(typed)}`" + (f" (exit code {found})" if found else ""))
        self.lines += ["", "  ```text", *(f"  {line}" for line in shown), "  ```", ""]
        if found != code:
            raise Wrong(f"{self.name}: `{' '.join(typed)}` exited with code {found}: {text}")
        for part in wanted:
            if part not in one_line(text):
                raise Wrong(f"{self.name}: `{' '.join(typed)}` does not show {part!r}: {text}")
        return text

    def acts(self, text):
        """An operator's action other than a command of imchannel."""
        self.note(f"act: {text}")

    def proves(self, text, condition, within_s=60):
        until(f"{self.name}: {text}", condition, within_s)
        self.note(f"proof: {text}")

    def ends(self, within_s):
        """Waits until all alerts of the drill have ended."""
        still = lambda: [alert for alert, labels in self.fired.items() if self.firing(alert, labels)]
        until(f"{self.name}: {', '.join(self.fired)} ends", lambda: not still(), within_s)
        self.note(f"{', '.join(f'**{alert}**' for alert in self.fired)} ended")
