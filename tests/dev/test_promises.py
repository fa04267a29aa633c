"""SECURITY.md and docs/compatibility.md name the tests that prove their statements: every named test and file must exist."""
import pathlib
import re
import unittest

from test_slow import tests

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = ["SECURITY.md", "docs/compatibility.md", "CONTRIBUTING.md"]
QUOTED = re.compile(r"`([^`\n]+)`")
FOLDERS = ("tests/", "crates/", "deploy/", "proto/", "scripts/", "docs/")


def modules():
    """The names of the modules that have tests of their own."""
    return {path.stem for path in (ROOT / "tests/e2e").rglob("*.rs")}


class Promises(unittest.TestCase):
    def test_what_a_document_names_exists(self):
        known, places, checked = tests(), modules(), 0
        for document in DOCUMENTS:
            for quoted in QUOTED.findall((ROOT / document).read_text()):
                if re.fullmatch(r"[a-z_]+(::[a-z_]+)+", quoted):
                    last = quoted.split("::")[-1]
                    self.assertTrue(known[last] or last in places, f"{document}: there is no test {quoted}")
                elif quoted.startswith(FOLDERS) and " " not in quoted:
                    self.assertTrue((ROOT / quoted).exists(), f"{document}: there is no {quoted}")
                else:
                    continue
                checked += 1
        self.assertGreater(checked, 25, "the documents must name their tests")


if __name__ == "__main__":
    unittest.main()
