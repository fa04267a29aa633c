"""One drill: an alert fires from a real fault, its link is opened, the runbook's commands are run in its order, the act is done,
and the alert ends. All of it is written down, for the report.
"""

import time

from parts import until
from runbook import Section, Wrong, one_line, words

OUTPUT_LINES_MAX = 14


def readable(command, text, wanted):
    """The lines that the report shows: of doctor what is wrong and what was looked for, of a screen the last of the latter."""
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
        """Waits until the alert fires, and opens the section to which its annotation leads."""
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
        """Goes to the section to which the present one leads."""
        return self.opens(self.section.leads_to(anchor))

    def runs(self, beginning, shows=(), code=0, answer=None, **places):
        """Runs the next command of the section's blocks; its output must have these texts. `answer`: it asks, and there is no terminal, so
        yes is said by an option."""
        return self.typed(self.section.next(beginning), shows, code, answer, places)

    def runs_inline(self, beginning, shows=(), code=0, answer=None, **places):
        """Runs a command that stands in a sentence of the section."""
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
            raise Wrong(f"{self.name}: `{' '.join(typed)}` ended with exit code {found}: {text}")
        for part in wanted:
            if part not in one_line(text):
                raise Wrong(f"{self.name}: `{' '.join(typed)}` does not show {part!r}: {text}")
        return text

    def acts(self, text):
        """What the operator does that is no command of imchannel."""
        self.note(f"act: {text}")

    def proves(self, text, condition, within_s=60):
        until(f"{self.name}: {text}", condition, within_s)
        self.note(f"proof: {text}")

    def ends(self, within_s):
        """Waits until all alerts of the drill have ended."""
        still = lambda: [alert for alert, labels in self.fired.items() if self.firing(alert, labels)]
        until(f"{self.name}: {', '.join(self.fired)} ends", lambda: not still(), within_s)
        self.note(f"{', '.join(f'**{alert}**' for alert in self.fired)} ended")
