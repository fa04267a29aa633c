"""The links of the documents, and the check of them itself."""
import pathlib
import re
import tempfile
import unittest

import blocks
import links

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The longest front page.
README_LINES_MAX = 150


class Repository(unittest.TestCase):
    def test_every_link_and_anchor_is_there(self):
        faults, count = links.check(ROOT)
        self.assertEqual(faults, [], "\n" + "\n".join(faults))
        self.assertGreater(count, 100)

    def test_the_readme_is_a_front_page(self):
        lines = (ROOT / "README.md").read_text(encoding="utf-8").count("\n")
        self.assertLessEqual(lines, README_LINES_MAX)

    def test_every_page_of_docs_is_in_the_index_and_in_the_book(self):
        pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"SUMMARY.md", "README.md"}
        for index in ("README.md", "SUMMARY.md"):
            text = (ROOT / "docs" / index).read_text(encoding="utf-8")
            named = {link.target.partition("#")[0] for link in links.links(text)}
            self.assertEqual(pages - named, set(), f"docs/{index} does not name them")

    def test_the_book_takes_the_pages_where_they_are(self):
        self.assertIn('src = "docs"', (ROOT / "book.toml").read_text(encoding="utf-8"))
        # mdBook makes an empty page of what is not there, and takes a line for a page only where it is an item of a list.
        summary = (ROOT / "docs/SUMMARY.md").read_text(encoding="utf-8")
        for line in summary.splitlines()[1:]:
            self.assertRegex(line, r"^$|^# .+$|^ *(- )?\[[^\]]+\]\([\w./-]+\.md\)$")
        self.assertEqual(re.findall(r"\((\.\./[^)]*)\)", summary), [], "mdBook takes pages below docs only")


class Check(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def faults(self, **files):
        for name, text in files.items():
            path = self.root / (name.replace("__", "/") + ".md")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return links.check(self.root)[0]

    def test_what_is_wrong_is_found(self):
        for target, why in [
            ("b.md", "is not there"), ("A.md", "is not there"), ("docs", "is not there"), ("a.md#two", "no heading"), ("#two", "no heading"),
            ("/a.md", "begins with /"), ("../a.md", "out of the repository"), ("", "is not there"),
        ]:
            for form in ["[x]({})", "![x]({})", "[x]( <{}> \"title\")", "words [a `b` c]({}) words", "[![x](a.md)]({})", '<img alt="" src="{}">']:
                if not target:
                    continue
                faults = self.faults(a="# One\n\n" + form.format(target) + "\n")
                self.assertEqual(len(faults), 1, (form, target, faults))
                self.assertIn(f"a.md:3: the link {target} ", faults[0])
                self.assertIn(why, faults[0])

    def test_an_image_inside_a_link_is_looked_at_too(self):
        self.assertEqual(len(self.faults(a="[![x](none.png)](a.md)\n")), 1)

    def test_a_definition_is_a_link(self):
        self.assertEqual(len(self.faults(a="[text][x]\n\n[x]: none.md\n")), 1)

    def test_what_is_right(self):
        text = (
            "# One\n\n[x](#one) [x](docs/b.md#two-words) [x](docs) [x](https://example.com/x#y) [x](mailto:a@b) [x](docs/c.txt#L3)\n"
            "`[x](none.md)` ``[`x`](none.md)`` <!-- [x](none.md) -->\n\n```text\n[x](none.md)\n# Two\n```\n"
        )
        (self.root / "docs").mkdir()
        (self.root / "docs/c.txt").touch()
        self.assertEqual(self.faults(a=text, docs__b="Two words\n---------\n\n[x](../a.md#one)\n"), [])

    def test_a_heading_in_a_block_is_none(self):
        self.assertEqual(len(self.faults(a="```text\n# Two\n```\n\n[x](#two)\n")), 1)

    def test_anchors_are_githubs(self):
        for heading, anchor in [
            ("1. What is lost and what is kept", "1-what-is-lost-and-what-is-kept"),
            ("Redis's functions and users", "rediss-functions-and-users"),
            ("`imchannel-ingress`", "imchannel-ingress"),
            ("`IMCHANNEL_LOG_LEVEL`, and more", "imchannel_log_level-and-more"),
            ("A [link](x.md) in it", "a-link-in-it"),
            ("Metrics, logs & traces", "metrics-logs--traces"),
            ("**Bold** and _slanted_ words", "bold-and-slanted-words"),
            ("Größe", "größe"),
            ("imchannel streams apply", "imchannel-streams-apply"),
        ]:
            self.assertEqual(links.slug(heading), anchor)

    def test_the_same_heading_again_has_a_number(self):
        self.assertEqual(links.anchors("# A\n\n## A\n\n## A ##\n"), {"a", "a-1", "a-2"})
        self.assertEqual(links.anchors('<a id="here"></a>\n'), {"here"})


if __name__ == "__main__":
    unittest.main()
