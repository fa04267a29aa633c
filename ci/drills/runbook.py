"""The runbook as data for drills: one section for each alert, with its commands, in order.

Commands come only from docs/runbook.md, so the drills test the present runbook.
"""

import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).resolve().parents[2]
RUNBOOK = ROOT / "docs" / "runbook.md"


class Wrong(Exception):
    """The runbook, an output or an alert is wrong."""


def one_line(text):
    return re.sub(r"\s+", " ", text)


class Section:
    """The runbook's section of one alert."""

    def __init__(self, link):
        path, anchor = link.split("#")
        if path != "docs/runbook.md":
            raise Wrong(f"the link {link} does not link to the runbook")
        parts = re.split(r"^### (\w+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
        sections = {name.lower(): text for name, text in zip(parts[1::2], parts[2::2])}
        if anchor not in sections:
            raise Wrong(f"the runbook has no section #{anchor}")
        self.anchor, self.text = anchor, sections[anchor]
        self.remaining = [command for block in self.blocks() for command in block]

    def blocks(self):
        """The commands of each fenced block, without comments; the tag of the fence does not matter here."""
        fenced = re.findall(r"^```sh[^\n]*\n(.*?)^```", self.text, re.MULTILINE | re.DOTALL)
        return [[line for line in map(without_comment, text.splitlines()) if line] for text in fenced]

    def next(self, beginning):
        """The next command of the fenced blocks, which must start with this text: they run in the order of the document."""
        if not self.remaining or not self.remaining[0].startswith(beginning):
            raise Wrong(f"#{self.anchor}: expected `{beginning}` next, the runbook prints {self.remaining[:1] or 'nothing more'}")
        return self.remaining.pop(0)

    def inline(self, beginning):
        """A command in a sentence or in a table."""
        for command in re.findall(r"`(imchannel [^`]*)`", self.text):
            if one_line(command).startswith(beginning):
                return one_line(command)
        raise Wrong(f"#{self.anchor}: no sentence has the command `{beginning}`")

    def row(self, cell):
        """The row of a table whose first cell starts with this text; the second cell says what to do."""
        for line in self.text.splitlines():
            cells = [part.strip() for part in line.strip().strip("|").split("|")]
            if line.startswith("|") and cells[0].strip("`").startswith(cell):
                return " ".join(cells[1:])
        raise Wrong(f"#{self.anchor}: no table has a row that starts with {cell!r}")

    def says(self, text):
        if text not in one_line(self.text):
            raise Wrong(f"#{self.anchor} does not say {text!r}")

    def leads_to(self, anchor):
        if f"(#{anchor})" not in self.text:
            raise Wrong(f"#{self.anchor} has no link to #{anchor}")
        return f"docs/runbook.md#{anchor}"


def without_comment(line):
    return re.sub(r"(^|\s)#.*$", "", line).strip()


def words(command, places):
    """The words of a printed command, with the operator's values in place of ID, $CHANNEL, the number 12 and so on."""
    filled = [places.get(word.removeprefix("$"), word) for word in shlex.split(command)]
    left = [word for word in filled if re.fullmatch(r"\$?[A-Z_]+", word) and word not in places.values()]
    if left:
        raise Wrong(f"`{command}`: no value for {', '.join(left)}")
    return filled
