"""Documents name tests, files and modules: every one of them must exist."""
import pathlib
import re
import unittest

from test_slow import TEST, tests

ROOT = pathlib.Path(__file__).resolve().parents[2]
E2E = ROOT / "tests/e2e"
# These name tests.
DOCUMENTS = ["SECURITY.md", "docs/compatibility.md", "CONTRIBUTING.md"]
# These name files of the code, by their path or by their name alone.
CODE_MAPS = ["ARCHITECTURE.md", "docs/adding-a-bsp.md"]
SOURCE_FILE = re.compile(r"(?:[a-z0-9_-]+/)*[a-z0-9_-]+\.(?:rs|py|sh|lua)")
QUOTED = re.compile(r"`([^`\n]+)`")
FOLDERS = ("tests/", "crates/", "deploy/", "proto/", "scripts/", "docs/", "ci/", "bench/", "examples/")


def files_of(module):
    """The files of a module of the end-to-end tests, such as `sender::order`."""
    path = E2E.joinpath(*module)
    return [file for file in (path.with_suffix(".rs"), path / "mod.rs") if file.exists()]


def is_test(path, known):
    """Whether a test or a module exists: `sender::order::TEST` in that file, or a test of a crate by its last name."""
    *module, name = path.split("::")
    if (E2E / module[0]).is_dir():
        return bool(files_of([*module, name])) or any(name in TEST.findall(file.read_text()) for file in files_of(module))
    return known[name] > 0


class Promises(unittest.TestCase):
    def test_what_a_document_names_exists(self):
        known, checked = tests(), 0
        for document in DOCUMENTS:
            for quoted in QUOTED.findall((ROOT / document).read_text()):
                if re.fullmatch(r"[a-z0-9_]+(::[a-z0-9_]+)+", quoted):
                    self.assertTrue(is_test(quoted, known), f"{document}: there is no test {quoted}")
                elif quoted.startswith(FOLDERS) and " " not in quoted:
                    self.assertTrue((ROOT / quoted).exists(), f"{document}: there is no {quoted}")
                else:
                    continue
                checked += 1
        self.assertGreater(checked, 25, "the documents must name their tests")

    def test_the_examples_of_running_tests_name_existing_ones(self):
        known, checked = tests(), 0
        commands = re.findall(r"-p e2e(?: --test e2e)? -- (\S+)", (ROOT / "CONTRIBUTING.md").read_text())
        for name in commands:
            if name.endswith("::"):
                module = name.removesuffix("::").split("::")
                self.assertTrue(E2E.joinpath(*module).is_dir() or files_of(module), f"there is no {name}")
            else:
                self.assertTrue(any(test.startswith(name) for test in known), f"there is no test {name}")
            checked += 1
        self.assertGreater(checked, 3)

    def test_what_a_map_of_the_code_names_exists(self):
        folders = ("crates", "tests", "deploy", "scripts", "ci", "bench")
        sources = [path.as_posix() for folder in folders for path in (ROOT / folder).rglob("*.*")]
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
