"""tests/slow.txt lists the tests that `./dev test --quick` skips: every line must be an existing test with its duration."""
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
    """The number of tests with each name."""
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
            self.assertEqual(known[name], 1, f"{name} must be exactly one test")
            # `--skip` also skips tests whose name contains the given one.
            others = {other for other in known if name in other} - named
            self.assertEqual(others, set(), f"{name} would also skip these")

    def test_the_list_is_in_order(self):
        names = [line.split()[0] for line in lines()]
        self.assertEqual(names, sorted(names))


if __name__ == "__main__":
    unittest.main()
