"""No crate has an import circle (`circles.py`), and the check finds those of small crates that are made up here."""
import pathlib
import tempfile
import unittest

import circles


class Crate:
    """A crate in a temporary folder, from the texts of its files."""

    def __init__(self, test, **files):
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        self.source = pathlib.Path(folder.name) / "made_up/src"
        for name, text in files.items():
            file = self.source / (name.replace("__", "/") + ".rs")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def circles(self):
        """The modules of each circle."""
        return [line.split(": ")[1].removesuffix(" import one another") for text in circles.report(self.source) for line in text.splitlines()[:1]]

    def uses(self, *module):
        return sorted("::".join(target) for target in circles.arrows(self.source)[module])


class Found(unittest.TestCase):
    def test_two_modules_that_import_each_other(self):
        crate = Crate(self, lib="mod a; mod b;", a="use crate::b::B;", b="pub struct B; fn f() { crate::a::g() }")
        self.assertEqual(crate.circles(), ["a, b"])

    def test_a_circle_of_three(self):
        crate = Crate(self, lib="", a="use super::b;", b="use crate::{c::{self, C}};", c="use crate::a::{A};", d="use crate::a;")
        self.assertEqual(crate.circles(), ["a, b, c"])

    def test_a_circle_through_the_files_of_two_folders(self):
        crate = Crate(self, lib="", a__mod="", a__x="use crate::b::y::Y;", b="", b__y="use crate::a;")
        self.assertEqual(crate.circles(), ["a, b"])

    def test_a_circle_inside_of_a_folder(self):
        crate = Crate(self, lib="", a="mod x; mod y;", a__x="use super::y;", a__y="use crate::a::x::X;")
        self.assertEqual(crate.circles(), ["a::x, a::y"])

    def test_a_circle_through_a_name_that_another_module_passes_on(self):
        crate = Crate(self, lib="pub use a::A;", a="use crate::b;", b="use crate::A;")
        self.assertEqual(crate.circles(), ["a, b"])
        crate = Crate(self, lib="", a="mod x; pub use x::X;", a__x="use super::y;", a__y="use super::X;")
        self.assertEqual(crate.circles(), ["a::x, a::y"])

    def test_a_report_names_the_files(self):
        crate = Crate(self, lib="", a__mod="", a__x="use crate::b;", b="use crate::a;")
        (text,) = circles.report(crate.source)
        self.assertIn("a -> b: a::x uses b", text)
        self.assertIn("b -> a: b uses a", text)


class Allowed(unittest.TestCase):
    def test_arrows_in_one_direction(self):
        crate = Crate(self, lib="", a="use crate::{b, c};", b="use crate::c;", c="")
        self.assertEqual(crate.circles(), [])
        self.assertEqual(crate.uses("a"), ["b", "c"])

    def test_a_module_and_its_parent(self):
        crate = Crate(self, lib="", a__mod="mod x; use x::X;", a__x="use super::A;")
        self.assertEqual(crate.circles(), [])

    def test_the_root_that_lists_its_modules(self):
        crate = Crate(self, lib="mod a; pub use a::A; fn f() { a::g() }", a="use crate::f;")
        self.assertEqual(crate.circles(), [])

    def test_comments_strings_and_tests(self):
        text = """
            //! See [`crate::b`].
            /* use crate::b; */
            const A: &str = "use crate::b;";
            const C: &str = r#"a "quote" in crate::b::C"#;
            const D: char = '"';
            #[cfg(test)]
            mod tests { use crate::b::B; fn f() { if true { crate::b::f() } } }
            use crate::c;
        """
        crate = Crate(self, lib="", a=text, b="use crate::a;", c="")
        self.assertEqual(crate.uses("a"), ["c"])

    def test_names_of_other_crates(self):
        crate = Crate(self, lib="", a="use bus::b::B; fn f() { std::fs::read() }", b="use crate::a;", fs="use crate::a;")
        self.assertEqual(crate.uses("a"), [])


class Crates(unittest.TestCase):
    def test_no_crate_has_an_import_circle(self):
        sources = [source for source in circles.sources() if source.parent.name not in circles.NOT_CLEAN_YET]
        self.assertGreater(len(sources), 8)
        self.assertEqual([text for source in sources for text in circles.report(source)], [])

    def test_the_paths_of_the_real_crates_are_found(self):
        bsp = circles.arrows(circles.ROOT / "crates/bsp/src")
        self.assertIn(("infobip",), bsp[("registry",)])
        self.assertGreater(sum(map(len, bsp.values())), 100)


if __name__ == "__main__":
    unittest.main()
