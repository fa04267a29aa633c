"""STYLE.md's refused words: no tracked text file uses them. `python3 -B tests/dev/test_words.py` prints every place.

A phrase is found across a line break and a comment's marker too. Names with underscores (`nobody_reads_it`) and in camel case are not
prose and are skipped, because a word must begin and end at a word boundary.
"""
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Paths (or beginnings of paths) that are not clean yet. Each goes as soon as its files are clean; the goal is an empty list.
NOT_CLEAN_YET = ()

# These may use the words: the rules themselves, this check, and a record of programs' output.
MAY_USE_THEM = ("STYLE.md", "tests/dev/test_words.py", "ci/drills/report.md")
# Not written by hand.
NOT_PROSE = re.compile(r"(^LICENSE$|\.lock$|package-lock\.json$|\.binpb$|\.svg$|\.png$|\.min\.js$|/example/)")
# Text that is quoted as a program prints it: (path, the whole quotation). When the program's text changes, so does the document.
QUOTED = (
    ("docs/runbook.md", "its credential is none of the channel's"),
    ("docs/runbook.md", "the pull broke and is built anew"),
    ("docs/runbook.md", "nobody asks for events"),
    ("tests/dev/test_quotes.py", "nobody asks for events"),
    ("ci/drills/faults/events_full.py", "nobody asks for events"),
    ("ci/drills/faults/events_not_read.py", "nobody asks for events"),
)

# Word or phrase (a regular expression; a space also matches a line break), and what to write instead.
WORDS = [
    (r"nobody", "no one, or name the actor: no consumer, no reader, no service"),
    (r"somebody", "someone, or name the actor: an operator, a caller"),
    (r"(?<!there\x20)(?<!there\n)(?:is|are|was|were) (?-i:none)", "there is no …; is not a …"),
    (r"anew", "again; restart; rebuild"),
    (r"so many", "the number; this many"),
    (r"(?:for|as|not|just)? ?so long(?! that)", "while; as long as; the duration"),
    (r"whoever", "anyone who; the caller"),
    (r"whatever", "any; always; regardless of"),
    (r"between two looks", "interval; how often … is checked"),
    (r"unwell", "with faults; failing"),
    (r"in vain", "without success; fails"),
    (r"(?:come|comes|came|gets?|got) so far", "reach; timed out waiting for"),
    (r"ever again", "again"),
    (r"as \w+ as wanted", "any number of; as often as you want"),
    (r"(?:is|are) well(?=[.,;:)!?`\"']|$| again)", "is healthy; works; passed"),
    (r"stands? (?:in(?! for)|on|at|below|above|under|there|here|still|behind)", "is in; is stopped"),
    (r"stood still", "was stopped"),
    (r"(?:it|that|this) stands(?! for)", "is; is valid"),
    (r"bears|(?:cannot|can not|can|could not) bear|bear each other", "is compatible with; can process"),
    (r"lies? (?:in|at|on|below|above|under|beside|between|with|there|here)", "is in; is at"),
    (r"mend(?:s|ed|ing)?", "fix; repair; recover"),
    (r"lest", "so that … not"),
    (r"of old", "earlier; old"),
    (r"hand(?:s|ed)? on", "passes; forwards"),
    # American spelling.
    (r"(?-i:[A-Z]?[a-z]*)(?:behaviour|colour|favour|honour|neighbour|labour|rumour)(?:s|ed|ing|able|al|ful|hood|ite)?", "-or: behavior, color, neighbor"),
    (r"(?:re|de)?centre(?:d|s)?", "center"),
    (r"licence[ds]?", "license"),
    (r"defence|offence|pretence", "-se: defense"),
    (r"(?<![.\w])cancell(?:ed|ing)(?!\()", "canceled, canceling"),
    (r"labell(?:ed|ing)|modell(?:ed|ing)|signall(?:ed|ing)|travell(?:ed|ing)|levell(?:ed|ing)|channell(?:ed|ing)", "one l: labeled, modeled"),
    (r"(?-i:[A-Z]?[a-z]*)(?:recogn|organ|summar|initial|serial|normal|author|categor|optim|minim|maxim|synchron|priorit|custom|capital|util|random|final"
     r"|general|special|standard|real|local|memor|visual|token|sanit|parallel|material|stabil|canonical|emphas|apolog|character|central"
     r"|container|finger|italic|legal|modern|mobil|neutral|penal|personal|symbol|terror|valid|virtual)"
     r"is(?:e|es|ed|ing|er|ers|ation|ations)", "-ize: recognize, organize"),
    (r"analys(?:e|ed|ing)(?! of)", "analyze"),
    (r"catalogue[ds]?|programme[ds]?|grey|whilst|amongst|artefacts?|fulfil(?!l)s?|judgement", "American spelling: catalog, program, gray, while"),
]
# A space of a phrase, or a line break with the marker of a comment.
GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*(?://[/!]?|#|\*|--|>)?[ \t]*)"


def compiled(pattern):
    return re.compile(r"(?<!imchannel:)\b(?:" + pattern.replace(" ", GAP) + r")(?!\w)", re.IGNORECASE)


# `(?! that)` and the like hold a space too, which is why all spaces are replaced alike.
EACH = [(compiled(pattern), instead) for pattern, instead in WORDS]
ANY = re.compile("|".join(pattern.pattern for pattern, _ in EACH), re.IGNORECASE)


def found(text):
    """What a text has of the refused words: (line, phrase, what to write instead)."""
    if not ANY.search(text):
        return
    for pattern, instead in EACH:
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, " ".join(match[0].split()), instead


def files():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        path = ROOT / name
        if not name or name.startswith(MAY_USE_THEM) or NOT_PROSE.search(name) or path.is_symlink() or not path.is_file():
            continue
        yield name, path


def faults(everywhere=False):
    for name, path in files():
        if name.startswith(NOT_CLEAN_YET) and not everywhere:
            continue
        content = path.read_bytes()
        if b"\0" in content:
            continue
        text = content.decode("utf-8", errors="replace")
        for quoted_in, quotation in QUOTED:
            if quoted_in == name:
                text = text.replace(quotation, "\n" * quotation.count("\n"))
        for line, phrase, instead in sorted(found(text)):
            yield f"{name}:{line}: '{phrase}': write: {instead}"


class Words(unittest.TestCase):
    def test_no_file_uses_a_refused_word(self):
        wrong = list(faults())
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))

    def test_it_finds_what_it_should(self):
        for text in [
            "Nobody reads it.", "it is none", "/// so\n/// many", "read anew", "Between two looks.", "for so long", "whatever it is",
            "as unwell as wanted", "it stands in the log", "it lies in `docs/`", "the behaviour", "unrecognised", "the licence", "cancelled",
            "# is\n# none", "all is well.", "did not come so far",
        ]:
            self.assertTrue(list(found(text)), text)

    def test_it_passes_what_it_should(self):
        for text in [
            "fn nobody_reads_it()", "UnrecognisedValues", "TemplateRecategorised", "normaliser_unrecognised_total", "imchannel:unrecognized:increase1h", "it took so long that", "if there is none", "if value is None:", "token.cancelled().await",
            "it stands for a BSP", "a fake stands in for it", "recognize, behavior, license", "otherwise", "a promise", "precise", "likely",
            "well-known", "enterprise", "exercised", "the emphasis", "an analysis",
        ]:
            self.assertEqual(list(found(text)), [], text)

    def test_a_line_is_told(self):
        self.assertEqual([line for line, _, _ in found("a\nb\nread anew\n")], [3])


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--everywhere"]
    wrong = [fault for fault in faults("--everywhere" in sys.argv) if not arguments or fault.startswith(tuple(arguments))]
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)
