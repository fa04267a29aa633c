"""What `./dev` installs, and when it asks: on a terminal, without one, as root and as another user.

Each test runs a copy of `dev` with its own PATH, in which a C compiler and the servers may be missing. apt-get, sudo and the
commands that change the system are scripts that record their arguments: the real ones would change this machine.
"""
import os
import pathlib
import pty
import select
import shutil
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT_S = 30
# System commands that change nothing outside of the test's folder.
REAL = ["bash", "sh", "dirname", "uname", "cat", "env"]
# Commands that are recorded with their arguments. `sudo` records its own line and then runs the rest.
WRITTEN_DOWN = ["apt-get", "tee", "chmod", "rm", "systemctl", "cargo", "rustup"]
ROOT_USER, OTHER_USER = "0", "1000"


class Machine:
    """A folder with a copy of `dev` and the commands that it finds."""

    def __init__(self, test, user, has_compiler=False, has_sudo=True):
        folder = tempfile.TemporaryDirectory(prefix="imchannel-dev-")
        test.addCleanup(folder.cleanup)
        self.home = pathlib.Path(folder.name)
        self.commands, self.calls_file = self.home / "bin", self.home / "calls"
        self.commands.mkdir()
        self.calls_file.touch()
        (self.home / "scripts").mkdir()
        shutil.copy(ROOT / "dev", self.home / "dev")
        shutil.copy(ROOT / "scripts/install.sh", self.home / "scripts/install.sh")
        for name in REAL:
            (self.commands / name).symlink_to(shutil.which(name))
        for name in WRITTEN_DOWN:
            self.command(name, f'printf "%s\\n" "{name} $*" >>"{self.calls_file}"')
        self.command("id", f"echo {user}")
        if has_sudo:
            self.command("sudo", f'printf "%s\\n" "sudo $*" >>"{self.calls_file}"; exec "$@"')
        for name in ["nats-server", "redis-server", "postgres"] + (["cc"] if has_compiler else []):
            self.command(name, "exit 0")
        # What `dev up` ends with.
        gateway = self.home / "target/release/imchannel"
        gateway.parent.mkdir(parents=True)
        gateway.write_text(f'#!/bin/sh\nprintf "%s\\n" "imchannel $*" >>"{self.calls_file}"\n')
        gateway.chmod(0o755)
        self.environment = {"PATH": str(self.commands), "HOME": str(self.home)}

    def command(self, name, script):
        path = self.commands / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def calls(self):
        return self.calls_file.read_text().split("\n")[:-1]

    def called(self, words):
        return [call for call in self.calls() if words in call]

    def without_terminal(self, *arguments):
        """Runs `dev`; gives the exit code and what it said."""
        process = subprocess.run(
            [self.home / "dev", *arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=LIMIT_S, text=True)
        return process.returncode, process.stdout

    def on_terminal(self, answer, *arguments):
        """The same on a terminal, with `answer` typed at the question."""
        child, terminal = pty.fork()
        if child == 0:
            os.execve(self.home / "dev", ["dev", *arguments], self.environment)
        said, is_answered, deadline = "", False, time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                piece = b""
            if not piece:
                break
            said += piece.decode()
            if "[y/N]" in said and not is_answered:
                os.write(terminal, answer.encode())
                is_answered = True
        else:
            os.kill(child, 9)
        status = os.waitpid(child, 0)[1]
        os.close(terminal)
        return os.waitstatus_to_exitcode(status), said


INSTALL = "apt-get install -y -qq --no-install-recommends gcc"


class OnATerminal(unittest.TestCase):
    def test_a_yes_installs_with_sudo_and_goes_on(self):
        for answer in ["y\n", "yes\n", "Y\n"]:
            machine = Machine(self, OTHER_USER)
            code, said = machine.on_terminal(answer, "up")
            self.assertEqual(code, 0, said)
            self.assertIn("Run `sudo apt-get install gcc", said)
            self.assertTrue(machine.called(f"sudo env DEBIAN_FRONTEND=noninteractive {INSTALL}"), machine.calls())
            self.assertTrue(machine.called(INSTALL), machine.calls())
            self.assertIn("imchannel up --channels", machine.calls()[-1])

    def test_everything_else_is_a_no(self):
        # The last one is the end of the input, Control-D.
        for answer in ["n\n", "\n", "what?\n", "\x04"]:
            for user in [OTHER_USER, ROOT_USER]:
                machine = Machine(self, user)
                code, said = machine.on_terminal(answer, "up")
                self.assertEqual(code, 1, said)
                self.assertIn("missing packages: gcc", said)
                self.assertEqual(machine.calls(), [], "nothing was run")

    def test_root_is_asked_too_and_needs_no_sudo(self):
        machine = Machine(self, ROOT_USER)
        code, said = machine.on_terminal("y\n", "up")
        self.assertEqual(code, 0, said)
        self.assertIn("Run `apt-get install gcc", said)
        self.assertTrue(machine.called(INSTALL), machine.calls())
        self.assertEqual(machine.called("sudo"), [])

    def test_yes_beforehand_is_not_asked_again(self):
        machine = Machine(self, OTHER_USER)
        code, said = machine.on_terminal("", "up", "--yes")
        self.assertEqual(code, 0, said)
        self.assertNotIn("[y/N]", said)
        self.assertIn("installing: sudo apt-get install gcc", said)


class WithoutATerminal(unittest.TestCase):
    def test_root_reads_what_is_installed_and_it_goes_on(self):
        machine = Machine(self, ROOT_USER)
        code, said = machine.without_terminal("up")
        self.assertEqual(code, 0, said)
        self.assertIn("installing: apt-get install gcc", said)
        self.assertTrue(machine.called(INSTALL), machine.calls())
        self.assertEqual(machine.called("sudo"), [])
        self.assertIn("imchannel up --channels", machine.calls()[-1])

    def test_another_user_is_stopped_and_told_of_yes(self):
        machine = Machine(self, OTHER_USER)
        code, said = machine.without_terminal("up")
        self.assertEqual(code, 1, said)
        self.assertIn("sudo apt-get install gcc", said)
        self.assertIn("--yes", said)
        self.assertEqual(machine.calls(), [], "nothing was run")

    def test_yes_lets_another_user_use_sudo(self):
        for arguments in [["--yes", "up", "--quiet"], ["up", "--quiet", "--yes"]]:
            machine = Machine(self, OTHER_USER)
            code, said = machine.without_terminal(*arguments)
            self.assertEqual(code, 0, said)
            self.assertTrue(machine.called(f"sudo env DEBIAN_FRONTEND=noninteractive {INSTALL}"), machine.calls())
            # The option is for dev alone.
            self.assertTrue(machine.calls()[-1].endswith("--simulate --quiet"), machine.calls())

    def test_without_sudo_another_user_is_told_what_is_missing(self):
        machine = Machine(self, OTHER_USER, has_sudo=False)
        code, said = machine.without_terminal("up", "--yes")
        self.assertEqual(code, 1, said)
        self.assertIn("missing: gcc", said)
        self.assertIn("needs root", said)
        self.assertEqual(machine.calls(), [], "nothing was run")

    def test_an_installation_that_fails_stops_it(self):
        machine = Machine(self, ROOT_USER)
        machine.command("apt-get", 'test "$1" = update')
        code, said = machine.without_terminal("up")
        self.assertEqual(code, 1, said)
        self.assertIn("apt-get could not install gcc", said)
        self.assertEqual(machine.called("cargo"), [])

    def test_services_are_not_started_by_their_packages(self):
        machine = Machine(self, ROOT_USER)
        code, said = machine.without_terminal("up")
        self.assertEqual(code, 0, said)
        if not pathlib.Path("/usr/sbin/policy-rc.d").exists():
            written = [call.split()[0] for call in machine.calls() if "policy-rc.d" in call]
            self.assertEqual(written, ["tee", "chmod", "rm"], machine.calls())

    def test_where_nothing_is_missing_nothing_is_said(self):
        for user in [OTHER_USER, ROOT_USER]:
            machine = Machine(self, user, has_compiler=True)
            code, said = machine.without_terminal("up")
            self.assertEqual(code, 0, said)
            self.assertNotIn("install", said)
            self.assertEqual(machine.called("apt-get"), [])

    def test_the_tests_need_a_browser(self):
        machine = Machine(self, ROOT_USER, has_compiler=True)
        # What `dev test` asks for besides: Python as it is, and strace.
        for name in ["python3", "strace"]:
            machine.command(name, "exit 0")
        machine.command("uname", "echo Linux")
        machine.command("cargo", "exit 1")
        _, said = machine.without_terminal("test")
        self.assertIn("installing: apt-get install chromium chromium-driver", said)


class Checks(unittest.TestCase):
    """The scripts of ci take what they need by the same rule."""

    def need(self, machine, **variables):
        (machine.home / "ci/lib").mkdir(parents=True)
        shutil.copy(ROOT / "ci/lib/checks.sh", machine.home / "ci/lib/checks.sh")
        script = ". ci/lib/checks.sh; need cc gcc || echo not here"
        process = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=machine.home, env={**machine.environment, **variables},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S, text=True)
        return process.stdout

    def test_no_sudo_without_a_yes(self):
        machine = Machine(self, OTHER_USER)
        self.assertIn("not here", self.need(machine))
        self.assertEqual(machine.calls(), [])

    def test_sudo_after_a_yes(self):
        machine = Machine(self, OTHER_USER)
        self.need(machine, DEV_YES="yes")
        self.assertTrue(machine.called(f"sudo env DEBIAN_FRONTEND=noninteractive {INSTALL}"), machine.calls())


if __name__ == "__main__":
    unittest.main()
