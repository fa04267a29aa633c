"""Tests of the runner of the documents' blocks: it refuses wrong blocks. Needs the built programs (target/debug)."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

import blocks
import run

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = {"channel apply": "provisioner", "media stat": ""}
NAMES = {"channel", "media", "tail"}


def faults(text):
    return blocks.parse("x.md", text)[1]


def locked_down(text, before=""):
    (block,), wrong = blocks.parse("x.md", f"{before}\n\n```sh test=locked-down\n{text}\n```\n")
    assert not wrong, wrong
    return list(blocks.faults_of_users(block, TABLE, NAMES))


class Tags(unittest.TestCase):
    def refused(self, text, why):
        found = faults(text)
        self.assertEqual(len(found), 1, found)
        self.assertIn(why, found[0])

    def test_a_block_without_a_tag(self):
        self.refused("```\nls\n```\n", "x.md:1: the block has no tag")
        self.refused("- item\n\n  ```\n  ls\n  ```\n", "x.md:3: the block has no tag")
        self.refused("```test=up\nls\n```\n", "has no tag")
        self.refused("words\n\n    ls\n", "x.md:3: an indented block has no tag")
        self.refused("- item\n\n      ls\n", "x.md:3: an indented block has no tag")

    def test_a_manual_block_without_a_reason(self):
        self.refused("```sh test=manual\nls\n```\n", "reason")
        self.refused('```sh test=manual reason=" "\nls\n```\n', "reason")
        self.refused('```sh test=up reason="not needed"\nls\n```\n', "reason")

    def test_what_would_escape_the_tests(self):
        self.refused("```sh\nls\n```\n", "where do the commands run?")
        self.refused("```sh test=somewhere\nls\n```\n", "expected one of")
        self.refused("```bash\nls\n```\n", "language sh")
        self.refused("```sh test=up expects=x\nls\n```\n", "expects is not a word")
        self.refused("```json test=up\n{}\n```\n", "is data")
        self.refused('```sh test=up until="a" exit=3\nls\n```\n', "until")
        self.refused("```sh test=up\nls\n", "is not closed")

    def test_what_is_right(self):
        text = '```json\n{}\n```\n\n- item\n  goes on\n\n  ```sh test=manual reason="a reason"\n  ls\n    -l\n  ```\n'
        found, wrong = blocks.parse("x.md", text)
        self.assertEqual((wrong, [block.text for block in found]), ([], ["{}", "ls\n  -l"]))
        self.assertEqual(faults("1. item\n\n   goes on\n\n   - inner\n\n     goes on\n"), [])

    def test_a_locked_down_block_says_its_user(self):
        self.assertEqual(len(locked_down("imchannel tail reports")), 1)
        self.assertEqual(len(locked_down("A=1 target/release/imchannel --json channel apply -f x  # operator")), 1)
        self.assertEqual(len(locked_down("url=$(imchannel tail reports)")), 1)
        self.assertEqual(len(locked_down("redis-cli ping  # nothing")), 1)
        self.assertEqual(len(locked_down("curl http://x")), 1)
        self.assertEqual(locked_down("imchannel tail reports  # operator"), [])
        self.assertEqual(locked_down("imchannel channel apply -f x", "As the provisioner:"), [])
        self.assertEqual(locked_down("imchannel media stat x  # no user"), [])


class Place:
    """A folder in place of an installation."""

    limit_s = 60

    def __init__(self, folder):
        self.folder, self.environment = pathlib.Path(folder), {"PATH": "/usr/bin:/bin", "TERM": "xterm"}

    def rewritten(self, text):
        return text.replace("9999", "1111")


class Runs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.place = Place(folder.name)

    def run_block(self, text, tag=""):
        (block,), wrong = blocks.parse("x.md", f"```sh test=up {tag}\n{text}\n```\n")
        self.assertEqual(wrong, [])
        return run.run(block, self.place)

    def test_a_failing_block(self):
        for text in ("false\ntrue", "false | true", "echo $unset", "(exit 3)"):
            self.assertIn("exit code", self.run_block(text) or "", text)
        self.assertIn("not 3", self.run_block("true", "exit=3") or "")
        self.assertIn("does not have 'b'", self.run_block("echo a", "expect=b") or "")
        self.assertIn("ended before it showed", self.run_block("echo a", "until=b") or "")

    def test_a_block_that_passes(self):
        self.assertIsNone(self.run_block("echo ab >&2", "expect=b"))
        self.assertIsNone(self.run_block("exit 3", "exit=3"))
        self.assertIsNone(self.run_block("echo 9999", "expect=1111"))
        self.assertIsNone(self.run_block("[ -t 1 ]; printf 'a\\033[1mb'; sleep 1000", "until=ab"))

    def test_blocks_share_a_shell(self):
        self.assertIsNone(self.run_block("mkdir sub; cd sub; here=1"))
        self.assertIsNone(self.run_block('[ "$here" = 1 ]; [ "$(basename "$PWD")" = sub ]'))


class Program(unittest.TestCase):
    """The runner as called by ./dev, on a repository with one more document."""

    def exit_code(self, document):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("examples", "deploy", "docs", "proto", "crates", "target", "docker-compose.yml", "README.md"):
                (pathlib.Path(folder) / name).symlink_to(ROOT / name)
            (pathlib.Path(folder) / "x.md").write_text(document, encoding="utf-8")
            args = ["--root", folder, "--document", "x.md", "--kind", "kubernetes"]
            done = subprocess.run([sys.executable, ROOT / "tests/documents/run.py", *args], capture_output=True, text=True)
            self.assertIn("x.md:1" if done.returncode else "ok   documents", done.stdout + done.stderr)
            return done.returncode

    def test_its_exit_code(self):
        self.assertEqual(self.exit_code("```\nls\n```\n"), 1)
        self.assertEqual(self.exit_code("```sh test=manual\nls\n```\n"), 1)
        self.assertEqual(self.exit_code("```sh test=kubernetes\nfalse\n```\n"), 1)
        self.assertEqual(self.exit_code("```sh test=kubernetes\nimchannel --version\n```\n"), 0)


if __name__ == "__main__":
    unittest.main()
