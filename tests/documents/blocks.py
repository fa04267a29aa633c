"""The fenced blocks of the documents: how they are read, and what every one of them has to say.

A block's first line has its language and, for commands (`sh`), where they are run:

    ```sh test=locked-down              in a locked-down installation, by ./dev test
    ```sh test=manual reason="..."      by people only, and why

Further words: `expect="text"` (the output has it), `until="text"` (the block never ends by itself: it runs on a terminal
until it shows the text), `exit=3` (the exit code, where it is not 0).
"""
import dataclasses
import os
import pathlib
import re
import shlex

# Where commands are run, and by what.
TESTS = {
    "up": "./dev test",
    "locked-down": "./dev test",
    "compose": "./dev check-deploy",
    "kubernetes": "./dev check-deploy",
    "systemd": "./dev check-deploy (deploy/check/systemd.sh)",
    "manual": "",
}
ATTRIBUTES = {"test", "reason", "expect", "until", "exit"}
COMMANDS = "sh"
# Other names of the language of commands, which would escape the tests.
NOT_COMMANDS = {"bash", "shell", "console", "zsh", "sh-session"}
FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>[^`]*)$")
LIST = re.compile(r"^( *)(?:[-*+]|\d+[.)]) +")
# `imchannel` as a command, with what follows it up to the end of the command.
IMCHANNEL = re.compile(r"(?:^|[\s(|;&=/])imchannel((?:[ \t]+[^\s|;&#)]+)+)")
REDIS_USERS = {"media", "sender", "operator", "provisioner", "probe"}


@dataclasses.dataclass
class Block:
    document: str
    line: int
    language: str
    attributes: dict
    text: str
    # The paragraph before it, which may say which user it needs.
    before: str

    @property
    def place(self):
        return f"{self.document}:{self.line}"

    @property
    def test(self):
        return self.attributes.get("test", "")


def documents(root):
    """Every Markdown file of the repository, in order."""
    found = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in {"target", "node_modules", ".git", "venv", ".venv"})
        found += [os.path.relpath(os.path.join(folder, name), root) for name in files if name.endswith(".md")]
    return sorted(found)


def parse(document, text):
    """The blocks of a document, and its faults of form."""
    blocks, faults = [], []
    lines = text.split("\n")
    number, paragraph, inside = 0, [], 0
    was_blank = True
    while number < len(lines):
        line = lines[number]
        fence = FENCE.match(line)
        if fence:
            end = next((n for n in range(number + 1, len(lines)) if is_end(lines[n], fence)), None)
            if end is None:
                faults.append(f"{document}:{number + 1}: the block has no end")
                return blocks, faults
            body = [without_indent(row, len(fence["indent"])) for row in lines[number + 1:end]]
            block, wrong = read(document, number + 1, fence["info"].strip(), "\n".join(body), " ".join(paragraph))
            blocks += [block] if block else []
            faults += wrong
            number, paragraph, was_blank = end + 1, [], True
            continue
        if not line.strip():
            was_blank = True
        else:
            indent = len(line) - len(line.lstrip(" "))
            item = LIST.match(line)
            if was_blank and indent >= inside + 4 and not (item and indent < inside + 4):
                faults.append(f"{document}:{number + 1}: an indented block has no tag: put it between ``` lines")
            if item and indent < inside + 4:
                inside = item.end()
            elif was_blank and indent < inside:
                inside = 0
            paragraph = ([] if was_blank else paragraph) + [line.strip()]
            was_blank = False
        number += 1
    return blocks, faults


def is_end(line, fence):
    marks = line.strip()
    return set(marks) == {fence["marks"][0]} and len(marks) >= len(fence["marks"])


def without_indent(line, indent):
    return line[min(indent, len(line) - len(line.lstrip(" "))):]


def read(document, line, info, text, before):
    place = f"{document}:{line}"
    try:
        words = shlex.split(info)
    except ValueError as error:
        return None, [f"{place}: its tag cannot be read: {error}"]
    if not words or "=" in words[0]:
        return None, [f"{place}: the block has no tag"]
    attributes = dict(word.partition("=")[::2] for word in words[1:])
    block = Block(document, line, words[0], attributes, text, before)
    return block, [f"{place}: {fault}" for fault in faults_of_tag(block)]


def faults_of_tag(block):
    attributes = block.attributes
    for name in attributes.keys() - ATTRIBUTES:
        yield f"{name} is no word of a tag"
    if block.language in NOT_COMMANDS:
        yield f"commands have the language {COMMANDS}, not {block.language}"
    if block.language != COMMANDS:
        if attributes:
            yield f"a block of {block.language} is data and has no further words"
        return
    if "test" not in attributes:
        yield "commands without test=…: where are they run?"
    elif block.test not in TESTS:
        yield f"test={block.test} is none of {', '.join(TESTS)}"
    if (block.test == "manual") != bool(attributes.get("reason", "").strip()):
        yield "test=manual and reason=\"…\" belong together"
    if not attributes.get("exit", "0").isdigit():
        yield "exit= is a number"
    if "until" in attributes and attributes.keys() & {"exit", "expect"}:
        yield "what runs until=… is stopped, and has neither exit= nor expect="


def users_table(page):
    """Command -> NATS user ('' for none), as the table of users in docs/installing.md has it. The program's own tests compare the page."""
    row = lambda user: next(line for line in page.split("\n") if line.startswith(f"| `{user}` |"))
    provisioner = row("provisioner").split("channels:", 1)[1]
    none = row("operator").split("but", 1)[1].split(":", 1)[0]
    table = {name: "provisioner" for name in re.findall(r"`([^`]+)`", provisioner)}
    table.update({name: "" for name in re.findall(r"`([^`]+)`", none)})
    return table


def needed_users(text, table, commands):
    """The users that the imchannel commands of a block need; `commands` are the first words of all of them."""
    needed = set()
    for match in IMCHANNEL.finditer(text.replace("\\\n", " ")):
        words = match.group(1).split()
        first = next((n for n, word in enumerate(words) if word in commands), None)
        if first is None or "--help" in words:
            continue
        user = table.get(" ".join(words[first:first + 2]), table.get(words[first], "operator"))
        if "--no-check" in words:
            user = ""
        needed |= {user} if user else set()
    return needed


def faults_of_users(block, table, commands):
    """A reader of a locked-down block has to see whose seed its commands take."""
    if block.test != "locked-down":
        return
    comments = " ".join(re.findall(r"(?:^|\s)#\s?(.*)", block.text))
    said = set(re.findall(r"[a-z]+", f"{block.before} {comments}".lower()))
    needed = needed_users(block.text, table, commands)
    for user in sorted(needed - said):
        yield f"{block.place}: it needs the NATS user {user}, and neither a comment nor the paragraph before it says so"
    if re.search(r"\bredis-cli\b", block.text) and not said & REDIS_USERS:
        yield f"{block.place}: it needs a user of Redis, and neither a comment nor the paragraph before it says which"
    elif not needed and not said & (REDIS_USERS | {"user"}):
        yield f"{block.place}: it says nothing of users; where it needs none, a comment says `no user`"


def load(root):
    """All blocks and all faults."""
    root = pathlib.Path(root)
    table = users_table((root / "docs/installing.md").read_text(encoding="utf-8"))
    source = (root / "crates/cli/src/users.rs").read_text(encoding="utf-8")
    commands = {name.split()[0] for name in re.findall(r'^    \("([a-z -]+)", ', source, re.M)}
    blocks, faults = [], []
    for document in documents(root):
        found, wrong = parse(document, (root / document).read_text(encoding="utf-8"))
        blocks += found
        faults += wrong
        for block in found:
            faults += faults_of_users(block, table, commands)
    return blocks, faults
