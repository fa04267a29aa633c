"""tests/slow.txt, the list of what `./dev test --quick` leaves out: every line is a test that exists, with its time."""
import collections
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEST = re.compile(r"#\[(?:tokio::)?test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\(crate\))? )?(?:async )?fn (\w+)")
LINE = re.compile(r"(?P<name>[a-z][a-z0-9_]*) +(?P<seconds>\d+) s")


def lines():
    text = (ROOT / "tests/slow.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def tests():
    """How many tests there are of each name."""
    sources = [path for folder in ["crates", "tests"] for path in (ROOT / folder).rglob("*.rs")]
    return collections.Counter(name for path in sources for name in TEST.findall(path.read_text()))


class Slow(unittest.TestCase):
    def test_every_line_has_a_name_and_a_time(self):
        for line in lines():
            self.assertIsNotNone(LINE.fullmatch(line), line)

    def test_every_name_is_one_test_and_leaves_out_no_other(self):
        known, named = tests(), {LINE.match(line)["name"] for line in lines()}
        self.assertGreater(len(known), 100)
        for name in named:
            self.assertEqual(known[name], 1, f"{name} is no test, or several")
            # A part of a name is enough to leave a test out.
            others = {other for other in known if name in other} - named
            self.assertEqual(others, set(), f"{name} would leave these out too")

    def test_the_list_is_in_order(self):
        names = [line.split()[0] for line in lines()]
        self.assertEqual(names, sorted(names))


if __name__ == "__main__":
    unittest.main()
