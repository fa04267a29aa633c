"""The examples, and the programs of the comparison, publish headers that they name one by one, and pass on none that they have read.

A stored message keeps the headers of its publish. With its Nats-Batch-* or Nats-Expected-* another message is refused, or is answered
without being stored.
"""
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = [
    path
    for folder in ("examples/python", "examples/typescript", "bench/comparison")
    for ending in ("*.py", "*.ts", "*.js", "*.go")
    for path in (ROOT / folder).rglob(ending)
    if not {"node_modules", "venv"} & set(path.parts)
]
# Headers of a message that was read, and what is done with them: one is asked for.
READ = re.compile(r"\b(?:msg|message|m)\.(?:headers|Header)\b(?!\?*\.get\(| or \{\}\)\.get\(|\.Get\()")
OF_PUBLISH = re.compile(r"Nats-(?:Batch|Expected)-", re.IGNORECASE)


class Examples(unittest.TestCase):
    def test_there_are_examples(self):
        self.assertGreaterEqual(len(PROGRAMS), 4)

    def test_headers_that_were_read_are_only_asked_for_by_name(self):
        for path in PROGRAMS:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                self.assertIsNone(READ.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}")

    def test_no_header_of_a_batch_or_a_condition_is_published(self):
        for path in PROGRAMS:
            self.assertIsNone(OF_PUBLISH.search(path.read_text()), path.relative_to(ROOT))

    def test_the_patterns_find_what_they_are_for(self):
        for line in ("await js.publish(s, d, headers=msg.headers)", "js.publish(s, d, { headers: msg.headers });", "out.Header = msg.Header"):
            self.assertIsNotNone(READ.search(line), line)
        for line in ('(msg.headers or {}).get("ce-id")', 'msg.headers?.get("ce-id")', 'msg.headers.get("x")', 'msg.Header.Get("x")'):
            self.assertIsNone(READ.search(line), line)


if __name__ == "__main__":
    unittest.main()
