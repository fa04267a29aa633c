"""Documents name tests, files and modules: every one of them must exist."""
import pathlib
import re
import unittest

from test_slow import tests

ROOT = pathlib.Path(__file__).resolve().parents[2]
# These name tests.
DOCUMENTS = ["SECURITY.md", "docs/compatibility.md", "CONTRIBUTING.md"]
# These name files of the code, by their path or by their name alone.
CODE_MAPS = ["ARCHITECTURE.md", "docs/adding-a-bsp.md"]
SOURCE_FILE = re.compile(r"(?:[a-z_]+/)*[a-z0-9_]+\.(?:rs|py|sh|lua)")
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

    def test_what_a_map_of_the_code_names_exists(self):
        sources = [path.as_posix() for folder in ("crates", "tests", "deploy", "scripts") for path in (ROOT / folder).rglob("*.*")]
        checked = 0
        for document in CODE_MAPS:
            for quoted in QUOTED.findall((ROOT / document).read_text()):
                if "{" in quoted or " " in quoted:
                    continue
                if quoted.startswith(FOLDERS):
                    self.assertTrue((ROOT / quoted).exists(), f"{document}: {quoted} is not there")
                elif SOURCE_FILE.fullmatch(quoted):
                    self.assertTrue(any(path.endswith(f"/{quoted}") for path in sources), f"{document}: no file {quoted}")
                else:
                    continue
                checked += 1
        self.assertGreater(checked, 100, "they name many files")


if __name__ == "__main__":
    unittest.main()
