"""Parses the fenced blocks of the documents, and checks their tags.

A block's first line has its language and, for commands (`sh`), where they are run:

    ```sh test=locked-down              ./dev test runs it in a locked-down installation
    ```sh test=manual reason="..."      only people run it; the reason says why

Other words: `expect="text"` (the output must contain it), `until="text"` (the block does not end by itself: it runs on a terminal
until it shows the text), `exit=3` (the exit code, if it is not 0).
"""
import dataclasses
import os
import pathlib
import re
import shlex

# Where commands run, and what runs them.
TESTS = {
    "up": "./dev test",
    "locked-down": "./dev test",
    "compose": "./dev check-deploy",
    "kubernetes": "./dev check-deploy",
    "systemd": "./dev check-deploy (ci/systemd.sh)",
    "manual": "",
}
ATTRIBUTES = {"test", "reason", "expect", "until", "exit"}
COMMANDS = "sh"
# Other names of the shell language, which would escape the tests.
NOT_COMMANDS = {"bash", "shell", "console", "zsh", "sh-session"}
FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<info>[^`]*)$")
LIST = re.compile(r"^( *)(?:[-*+]|\d+[.)]) +")
# `imchannel` as a command, with its arguments.
IMCHANNEL = re.compile(r"(?:^|[\s(|;&=/])imchannel((?:[ \t]+[^\s|;&#)]+)+)")
REDIS_USERS = {"media", "sender", "operator", "provisioner", "probe"}


@dataclasses.dataclass
class Block:
    document: str
    line: int
    language: str
    attributes: dict
    text: str
    # The paragraph before it, which may name the user that it needs.
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
    """The blocks of a document, and the faults of its blocks."""
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
                faults.append(f"{document}:{number + 1}: the block is not closed")
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
        return None, [f"{place}: its tag cannot be parsed: {error}"]
    if not words or "=" in words[0]:
        return None, [f"{place}: the block has no tag"]
    attributes = dict(word.partition("=")[::2] for word in words[1:])
    block = Block(document, line, words[0], attributes, text, before)
    return block, [f"{place}: {fault}" for fault in faults_of_tag(block)]


def faults_of_tag(block):
    attributes = block.attributes
    for name in attributes.keys() - ATTRIBUTES:
        yield f"{name} is not a word of a tag"
    if block.language in NOT_COMMANDS:
        yield f"commands must have the language {COMMANDS}, not {block.language}"
    if block.language != COMMANDS:
        if attributes:
            yield f"a block of {block.language} is data and must have no other words"
        return
    if "test" not in attributes:
        yield "missing test=…: where do the commands run?"
    elif block.test not in TESTS:
        yield f"unknown test={block.test}, expected one of {', '.join(TESTS)}"
    if (block.test == "manual") != bool(attributes.get("reason", "").strip()):
        yield "test=manual needs reason=\"…\", and no other test has one"
    if not attributes.get("exit", "0").isdigit():
        yield "exit= must be a number"
    if "until" in attributes and attributes.keys() & {"exit", "expect"}:
        yield "a block with until=… is stopped, and cannot have exit= or expect="


def users_table(page):
    """Command -> user of NATS ('' for none), from the table of users in docs/installing.md. Tests of the program compare the page with the program."""
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
    """A locked-down block must say which users its commands need."""
    if block.test != "locked-down":
        return
    comments = " ".join(re.findall(r"(?:^|\s)#\s?(.*)", block.text))
    said = set(re.findall(r"[a-z]+", f"{block.before} {comments}".lower()))
    needed = needed_users(block.text, table, commands)
    for user in sorted(needed - said):
        yield f"{block.place}: it needs the NATS user {user}, but neither a comment nor the paragraph before it names it"
    if re.search(r"\bredis-cli\b", block.text) and not said & REDIS_USERS:
        yield f"{block.place}: it needs a user of Redis, but neither a comment nor the paragraph before it names one"
    elif not needed and not said & (REDIS_USERS | {"user"}):
        yield f"{block.place}: it names no user; if it needs none, write the comment `no user`"


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
