"""The links between the documents: every link to a file of the repository, and every anchor, has to be there.

Links to other machines are not followed. Anchors are made as GitHub makes them out of headings.
"""
import dataclasses
import os
import pathlib
import re
import urllib.parse

import blocks

# `[text](target)` and `![text](target)`, with a title or without; the text may hold an image.
INLINE = re.compile(r"\[(?:[^\[\]]|\[[^\[\]]*\](?:\([^()]*\))?)*\]\(\s*<?([^()\s<>]*(?:\([^()\s]*\)[^()\s<>]*)*)>?(?:\s+[\"'][^)]*)?\)")
DEFINITION = re.compile(r"^ {0,3}\[[^\]^]+\]:\s+<?(\S+?)>?(?:\s|$)", re.M)
HTML = re.compile(r"<(?:a|img|source|video)\b[^>]*?\s(?:href|src|srcset)=[\"']([^\"']+)[\"']", re.I)
HTML_ANCHOR = re.compile(r"<[a-z]+\b[^>]*?\s(?:id|name)=[\"']([^\"']+)[\"']", re.I)
HEADING = re.compile(r"^ {0,3}(#{1,6})\s+(.*?)(?:\s+#+)?\s*$")
UNDERLINE = re.compile(r"^ {0,3}(=+|-+)\s*$")
CODE = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:|^//", re.I)
# A line of a file that is no document.
LINE = re.compile(r"^L\d+(-L\d+)?$")


@dataclasses.dataclass(frozen=True)
class Link:
    line: int
    target: str


def without_blocks(text):
    """The text with empty lines in place of fenced blocks and comments: nothing in them is a link or a heading."""
    lines, end = text.split("\n"), None
    for number, line in enumerate(lines):
        fence = blocks.FENCE.match(line)
        if end is not None:
            lines[number] = ""
            if blocks.is_end(line, end):
                end = None
        elif fence:
            lines[number], end = "", fence
    comment = lambda match: "\n" * match.group(0).count("\n")
    return re.sub(r"<!--.*?-->", comment, "\n".join(lines), flags=re.S)


def links(text):
    """The targets of a document, with their lines."""
    # A link in code is only shown. Its place stays, so that lines can be counted.
    text = CODE.sub(lambda match: re.sub(r"[^\n]", "x", match.group(0)), without_blocks(text))
    found = []
    for pattern in (INLINE, DEFINITION, HTML):
        for match in pattern.finditer(text):
            # The text of a link may be an image.
            inner = INLINE.findall(match.group(0)[1:match.start(1) - match.start()]) if pattern is INLINE else []
            line = text.count("\n", 0, match.start()) + 1
            found += [Link(line, target) for target in [match.group(1), *inner]]
    return sorted(found, key=lambda link: link.line)


def slug(heading):
    """The anchor of a heading: letters, digits, `-` and `_` in lower case, and `-` for each space."""
    text = re.sub(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", heading)
    # Marks of emphasis, which a word with `_` inside has none of.
    text = re.sub(r"(?<![\w])_+|_+(?![\w])", "", re.sub(r"<[^>]+>", "", text)) if "`" not in text else text
    text = re.sub(r"[^\w\- ]", "", text.strip().lower())
    return text.replace(" ", "-")


def anchors(text):
    """Every anchor of a document."""
    found, seen = set(), {}
    lines = without_blocks(text).split("\n")
    for number, line in enumerate(lines):
        heading = HEADING.match(line)
        title = heading.group(2) if heading else None
        if title is None and number and UNDERLINE.match(line) and re.match(r"\s{0,3}\w", lines[number - 1]):
            title = lines[number - 1].strip()
        if title is None:
            continue
        name = slug(title)
        count = seen.get(name, 0)
        seen[name] = count + 1
        found.add(f"{name}-{count}" if count else name)
    return found | set(HTML_ANCHOR.findall(without_blocks(text)))


def fault_of(root, document, target, texts):
    """What is wrong with a link, or None."""
    if SCHEME.match(target):
        return None
    path, _, anchor = target.partition("#")
    path = urllib.parse.unquote(path)
    if path.startswith("/"):
        return "begins with /: it is relative to the document"
    place = os.path.normpath(os.path.join(os.path.dirname(document), path)) if path else document
    if place.startswith(".."):
        return "leads out of the repository"
    if not exists(root, place):
        return "is not there"
    if not anchor:
        return None
    if not place.endswith(".md"):
        return None if LINE.match(anchor) else f"has an anchor, and {place} is no document"
    if place not in texts:
        texts[place] = anchors((root / place).read_text(encoding="utf-8"))
    if urllib.parse.unquote(anchor) not in texts[place]:
        return f"{place} has no heading of that anchor"
    return None


def exists(root, place):
    """Whether a file or folder is there under exactly this name, also where the file system ignores the case."""
    folder = root
    for part in pathlib.PurePath(place).parts:
        if not folder.is_dir() or part not in os.listdir(folder):
            return False
        folder = folder / part
    return True


def check(root):
    """Every fault of every document, and the number of links that were looked at."""
    root, texts, faults, count = pathlib.Path(root), {}, [], 0
    for document in blocks.documents(root):
        for link in links((root / document).read_text(encoding="utf-8")):
            count += 1
            fault = fault_of(root, document, link.target, texts)
            if fault:
                faults.append(f"{document}:{link.line}: the link {link.target or '(empty)'} {fault}")
    return faults, count
