"""Texts of programs that the runbook quotes: each is in the source of the programs, so that an operator finds it in a log or an output.

A quoted text is code in backticks with a space that is not a command, or one of QUOTED below. A `…` in it stands for a value.
"""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = "docs/runbook.md"
# Quoted between quotation marks, in a table, or in a comment.
QUOTED = [
    "no reader requests events", "the channel's rate", "wait behind an earlier one", "the lane has no owner",
    "Redis lacks the functions of this version", "paused by an operator", "its durables are missing", "the ledger of sends is full",
    "no key: ", "the BSP limits the rate", "the account fails", "from a server in front of the BSP", "Why it waits", "Worked by", "Oldest waits",
]
COMMAND = re.compile(r"^(?:imchannel|docker|systemctl|kubectl|curl|journalctl|tail|--|\$)")
# Texts of other programs, settings, and an output with columns.
NOT_OURS = {"option forwardfor", "sync_interval: always", "FUNCTION KILL", "ok streams.sequences"}


def normalized(text):
    """One line: a string that continues after a backslash, or is joined, has one space."""
    return re.sub(r"\s+", " ", re.sub(r"\\\n\s*", "", text))


def quotes(document):
    text = re.sub(r"^ *```.*?^ *```", "", document, flags=re.MULTILINE | re.DOTALL)
    found = [normalized(quoted) for quoted in re.findall(r"`([^`]+)`", text)]
    yield from (quoted for quoted in found if " " in quoted and not COMMAND.match(quoted) and quoted not in NOT_OURS)


class Quotes(unittest.TestCase):
    def test_every_quoted_text_is_in_the_source(self):
        document = (ROOT / DOCUMENT).read_text(encoding="utf-8")
        source = normalized("\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "crates").glob("*/src/**/*.rs"))))
        found = list(quotes(document))
        self.assertGreater(len(found), 30)
        missing = [f"{DOCUMENT} does not quote '{quoted}' any more" for quoted in QUOTED if quoted not in normalized(document)]
        for quoted in [*found, *QUOTED]:
            for part in filter(None, (part.strip() for part in quoted.split("…"))):
                if part not in source:
                    missing.append(f"{DOCUMENT}: '{quoted}': no program has '{part}'")
        self.assertEqual(missing, [], "\n" + "\n".join(missing))


if __name__ == "__main__":
    unittest.main()
