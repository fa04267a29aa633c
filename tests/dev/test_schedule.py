"""What `.ci/run`, `./dev test` and `./dev check-deploy` run, and in which order: no check may be dropped when one runs beside another.

Each test runs a copy of `dev` and `.ci/run` with checks and a cargo that are scripts: they record that they ran.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT_S = 60
PARTS = sorted(path.stem for path in (ROOT / "ci").glob("*.sh") if path.stem != "drills")
# Packages that the machine of the test may not have.
PRESENT = ["nats-server", "redis-server", "postgres", "chromium", "chromedriver", "strace", "prometheus", "faketime", "haproxy", "openssl",
           "debootstrap", "ip", "cc", "rustup"]

# The two processes with all tests: what one skips is what the other runs.
TESTS = "cargo test --workspace --locked --lib --bins --tests --"
NAMES = ["sender::", "ingress::", "simulator::"]
EXCLUDING, OTHERS = " ".join([TESTS, *NAMES]), " ".join([TESTS, *(f"--skip {name}" for name in NAMES)])


class Copy:
    """A folder with `dev`, `.ci/run` and a script in place of each check, each program and each Python file."""

    def __init__(self, test):
        folder = tempfile.TemporaryDirectory(prefix="imchannel-schedule-")
        test.addCleanup(folder.cleanup)
        self.home = pathlib.Path(folder.name)
        self.calls_file = self.home / "calls"
        for name in ["bin", "ci", ".ci", "scripts", "tests/dev", "tests/documents", "examples/python", "target/python"]:
            (self.home / name).mkdir(parents=True)
        for name in ["dev", ".ci/run", "scripts/install.sh"]:
            shutil.copy(ROOT / name, self.home / name)
        for name in ["examples/python/requirements.txt", "target/python/installed.txt"]:
            (self.home / name).write_text("")
        (self.home / "tests/slow.txt").write_text("a_slow_test 9 s\n")
        for part in PARTS:
            self.check(part)
        for name in ["cargo", "python3"]:
            self.script(f"bin/{name}", f'echo "{name} $*" >>"{self.calls_file}"')
        for name in PRESENT:
            self.script(f"bin/{name}", "exit 0")
        # Without cargo-nextest and cargo-deny, which this machine may have: only the system's own folders.
        self.environment = {"PATH": f"{self.home}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.home)}

    def script(self, name, text):
        path = self.home / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def check(self, part, then="exit 0"):
        self.script(f"ci/{part}.sh", f'echo "ci/{part}.sh $*" >>"{self.calls_file}"\n{then}')

    def run(self, *command):
        """Returns the exit code and what was printed."""
        done = subprocess.run(command, cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=LIMIT_S, text=True, check=False)
        return done.returncode, done.stdout

    def calls(self):
        return [line.strip() for line in self.calls_file.read_text().splitlines()]


class Schedule(unittest.TestCase):
    def parts_of(self, calls):
        return sorted(found[1] for found in (re.fullmatch(r"ci/(\w+)\.sh", call) for call in calls) if found)

    def test_continuous_integration_runs_every_part_once_and_every_test(self):
        copy = Copy(self)
        code, said = copy.run(".ci/run")
        self.assertEqual(code, 0, said)
        calls = copy.calls()
        self.assertEqual(self.parts_of(calls), PARTS)
        for wanted in ["cargo fmt --all --check", "cargo clippy --workspace --all-targets --locked -- -D warnings",
                       "cargo clippy -p e2e --test rolling --locked -- -D warnings", "cargo test --workspace --locked --doc",
                       "cargo doc --workspace --no-deps --document-private-items --quiet --locked",
                       EXCLUDING, OTHERS, "python3 -B tests/documents/run.py", "ci/rolling.sh --build"]:
            self.assertEqual(calls.count(wanted), 1, (wanted, calls))
        # Nothing is measured beside the replacements, and the tests run when the documents' commands are over.
        self.assertEqual(calls[-1], "ci/rolling.sh")
        self.assertLess(calls.index("python3 -B tests/documents/run.py"), min(calls.index(EXCLUDING), calls.index(OTHERS)))
        for part in PARTS:
            self.assertRegex(said, rf"(?m)^   {part}: \d+ s$")

    def test_check_deploy_alone_runs_every_part_once(self):
        copy = Copy(self)
        code, said = copy.run("./dev", "check-deploy")
        self.assertEqual(code, 0, said)
        self.assertEqual(self.parts_of(copy.calls()), PARTS)

    def test_single_parts_run_in_the_given_order(self):
        copy = Copy(self)
        code, said = copy.run("./dev", "check-deploy", "systemd", "compose")
        self.assertEqual(code, 0, said)
        self.assertEqual([call for call in copy.calls() if call.startswith("ci/")], ["ci/systemd.sh", "ci/compose.sh"])

    def test_every_part_that_fails_fails_the_run_and_shows_why(self):
        for part in PARTS:
            copy = Copy(self)
            copy.check(part, f"echo the fault of {part}; [ \"$1\" = --build ] || exit 1")
            code, said = copy.run(".ci/run")
            self.assertNotEqual(code, 0, (part, said))
            self.assertIn(f"the fault of {part}", said)

    def test_documents_that_fail_fail_the_tests(self):
        copy = Copy(self)
        copy.script("bin/python3", "case \"$*\" in *documents/run.py) echo the fault of a document; exit 1;; esac")
        code, said = copy.run("./dev", "test")
        self.assertNotEqual(code, 0, said)
        self.assertIn("the fault of a document", said)
        self.assertNotIn(OTHERS, copy.calls())

    def test_tests_that_fail_in_either_process_fail_the_tests(self):
        for wanted in [EXCLUDING, OTHERS]:
            copy = Copy(self)
            copy.script("bin/cargo", f"[ \"cargo $*\" != \"{wanted}\" ] || {{ echo the fault of a test; exit 1; }}")
            code, said = copy.run("./dev", "test")
            self.assertNotEqual(code, 0, said)
            self.assertIn("the fault of a test", said)

    def test_the_usage_is_the_comment_and_no_code(self):
        copy = Copy(self)
        code, said = copy.run("./dev")
        self.assertEqual(code, 2)
        self.assertTrue(all(line.startswith("#") for line in said.splitlines()), said)
        self.assertIn("./dev chaos", said)

    def test_named_tests_run_in_one_process(self):
        copy = Copy(self)
        code, said = copy.run("./dev", "test", "a_name")
        self.assertEqual(code, 0, said)
        self.assertEqual([call for call in copy.calls() if " --tests -- " in call], [f"{TESTS} a_name"])

    def test_what_has_begun_ends_when_another_check_fails(self):
        copy = Copy(self)
        pid = copy.home / "pid"
        copy.check("observability", f"echo $$ >\"{pid}\"; exec sleep {LIMIT_S}")
        copy.check("compose", f"until [ -s \"{pid}\" ]; do sleep 0.05; done; exit 1")
        for command in [("./dev", "check-deploy"), (".ci/run",)]:
            pid.unlink(missing_ok=True)
            code, said = copy.run(*command)
            self.assertNotEqual(code, 0, said)
            self.ends(int(pid.read_text()))

    def test_what_has_begun_ends_when_the_run_is_terminated(self):
        copy = Copy(self)
        pid, other = copy.home / "pid", copy.home / "other"
        copy.check("observability", f"echo $$ >\"{pid}\"; exec sleep {LIMIT_S}")
        copy.check("compose", f"echo $$ >\"{other}\"; exec sleep {LIMIT_S}")
        process = subprocess.Popen([copy.home / "dev", "check-deploy"], cwd=copy.home, env=copy.environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + LIMIT_S
        while not (pid.exists() and pid.read_text() and other.exists() and other.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        # As a CI system ends a job, and a terminal does with Control-C.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(LIMIT_S)
        self.ends(int(pid.read_text()))
        self.ends(int(other.read_text()))

    def ends(self, pid):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            # It may wait for its parent.
            state = pathlib.Path(f"/proc/{pid}/stat")
            if state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
            time.sleep(0.05)
        self.fail("the check in the background runs on")


if __name__ == "__main__":
    unittest.main()
