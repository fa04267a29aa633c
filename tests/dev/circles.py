"""Import circles: modules of a crate that import one another, directly or through others.

`python3 -B tests/dev/circles.py [CRATE ...]` prints every circle with the files that cause it.

A module is a file. A folder and its file (`name.rs` or `name/mod.rs`) form one module of the level above, so circles are
searched at every level: among the modules of the crate, and among those of each folder. An arrow is a path in the code
(`crate::a::b`, `super::c`, or `d::e` where the file has a module `d`); a name that a file passes on with `pub use` is an
arrow to where it comes from. Modules may use their parent, and parents their children. The root of a crate lists its
modules and is in no circle. Comments, strings and code for tests (`#[cfg(test)]`) are left out.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Crates that still have circles. The goal is an empty list.
NOT_CLEAN_YET = ()

# Comments, strings and characters: they may contain text that looks like code.
NOT_CODE = re.compile(
    r"//[^\n]*|/\*.*?\*/"
    r'|r(?P<hashes>#*)".*?"(?P=hashes)|"(?:\\.|[^"\\])*"'
    r"|b?'(?:\\.[^']*|[^'\\])'",
    re.S,
)
USE = re.compile(r"(\bpub(?:\([^)]*\))?\s+)?\buse\s+([^;]+);")
PATH = re.compile(r"\b(?:crate|super|self|[a-z_][a-z0-9_]*)(?:::[A-Za-z_][A-Za-z0-9_]*)+")
TEST = "#[cfg(test)]"


def modules(source):
    """The file of each module, by the module's path: `("media", "zip")` is the module `media::zip`, `()` the root."""
    found = {}
    for file in sorted(source.rglob("*.rs")):
        path = list(file.relative_to(source).with_suffix("").parts)
        if path[-1] in ("mod", "lib", "main"):
            path.pop()
        found.setdefault(tuple(path), file)
    return found


def code(text):
    """The code of a file without comments, strings and items for tests."""
    text = NOT_CODE.sub(" ", text)
    while (start := text.find(TEST)) >= 0:
        text = text[:start] + text[end_of_item(text, start + len(TEST)) :]
    return text


def end_of_item(text, at):
    """The position after the item that begins at `at`: after its closing brace or its semicolon."""
    depth = 0
    for position in range(at, len(text)):
        character = text[position]
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
        if depth == 0 and character in "};":
            return position + 1
    return len(text)


def spell_out(tree, prefix=()):
    """The paths of a `use`: `a::{b, c::{self, d as e}}` is `a::b`, `a::c` and `a::c::d`, each with the name that it gets."""
    tree = tree.strip()
    if "{" not in tree:
        path, _, name = tree.partition(" as ")
        path = (*prefix, *(part.strip() for part in path.split("::") if part.strip()))
        if path[-1] == "self":
            path = path[:-1]
        yield path, name.strip() or path[-1]
        return
    head, rest = tree.split("{", 1)
    head = (*prefix, *(part.strip() for part in head.split("::") if part.strip()))
    depth, piece = 0, ""
    for character in rest[: rest.rindex("}")] + ",":
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "," and depth == 0:
            if piece.strip():
                yield from spell_out(piece, head)
            piece = ""
        else:
            piece += character


def arrows(source):
    """The modules that each module of a crate uses."""
    found = modules(source)
    texts = {module: code(file.read_text()) for module, file in found.items()}
    exports = {module: dict(exported(text)) for module, text in texts.items()}
    graph = {module: set() for module in found}
    for module, text in texts.items():
        paths = [path for is_public, tree in USE.findall(text) if not is_public for path, _ in spell_out(tree)]
        paths += [tuple(match.split("::")) for match in PATH.findall(USE.sub("", text))]
        graph[module] = {target for path in paths if (target := resolve(path, module, found, exports))} - {module}
    return graph


def exported(text):
    """The names that a file passes on with `pub use`, and their paths."""
    for is_public, tree in USE.findall(text):
        if is_public:
            yield from ((name, path) for path, name in spell_out(tree))


def resolve(path, module, found, exports, depth=0):
    """The module that a path in `module` leads to; `None` if it leads out of the crate or to the root's own items."""
    if path[0] == "crate":
        here, rest = (), path[1:]
    elif path[0] in ("super", "self"):
        here, rest = module, path
        while rest and rest[0] in ("super", "self"):
            here = here[:-1] if rest[0] == "super" else here
            rest = rest[1:]
    elif (*module, path[0]) in found:
        here, rest = module, path
    else:
        return None
    while rest and (*here, rest[0]) in found:
        here, rest = (*here, rest[0]), rest[1:]
    source = exports.get(here, {}).get(rest[0]) if rest else None
    # A name of another module, which may pass it on in turn.
    if source and depth < 8 and here != module:
        return resolve(source, here, found, exports, depth + 1) or here or None
    return here or None


def levels(graph):
    """The arrows between modules of the same folder: for each folder, the arrows and the modules that cause each."""
    result = {}
    for module, targets in graph.items():
        for target in targets:
            common = 0
            while common < min(len(module), len(target)) and module[common] == target[common]:
                common += 1
            if common < min(len(module), len(target)):
                siblings = result.setdefault(module[:common], {})
                arrow = module[: common + 1], target[: common + 1]
                siblings.setdefault(arrow, []).append((module, target))
    return result


def circles(arrows_of_level):
    """Groups of two modules or more that reach one another (Tarjan's strongly connected components)."""
    graph = {}
    for start, end in arrows_of_level:
        graph.setdefault(start, set()).add(end)
        graph.setdefault(end, set())
    index, low, stack, groups = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in index:
                visit(target)
            if target in stack:
                low[node] = min(low[node], low[target])
        if low[node] == index[node]:
            position = stack.index(node)
            group = sorted(stack[position:])
            del stack[position:]
            if len(group) > 1:
                groups.append(group)

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return groups


def report(source):
    """A text for each circle of a crate: its modules, and the arrows between them with the files that cause them."""
    name = lambda module: "::".join(module)
    for siblings in levels(arrows(source)).values():
        for group in circles(siblings):
            lines = [f"{source.parent.name}: {', '.join(map(name, group))} import one another"]
            for (start, end), causes in sorted(siblings.items()):
                if start in group and end in group:
                    shown = ", ".join(f"{name(module)} uses {name(target)}" for module, target in sorted(causes)[:3])
                    lines.append(f"  {name(start)} -> {name(end)}: {shown}")
            yield "\n".join(lines)


def sources():
    """The folder of every crate's code, and of the end-to-end tests."""
    return [*sorted(ROOT.glob("crates/*/src")), ROOT / "tests/e2e"]


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    for folder in sources():
        if len(sys.argv) == 1 or folder.parent.name in sys.argv[1:]:
            for text in report(folder):
                print(text)
