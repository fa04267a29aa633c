#!/usr/bin/env python3
"""Writes the picture of `imchannel top` that the README shows.

    scripts/top_picture.py                  builds the program, runs it, and writes docs/images/top.png
    scripts/top_picture.py --no-build       the same with target/debug/imchannel as it is
    scripts/top_picture.py --out FILE --columns 100 --rows 30 --seconds 30

It runs `imchannel up --simulate` on free ports in a scratch folder, sends some messages, runs `imchannel top` on a pseudo-terminal,
reads its screen with a terminal emulator (pyte) and draws the cells (Pillow). Both come from PyPI into target/picture. It needs
nats-server, redis-server, Python 3 with venv, and the font DejaVu Sans Mono.
"""
import argparse
import fcntl
import os
import pathlib
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGES = ["pyte==0.8.2", "pillow==11.3.0"]
# For the gateway to be ready.
START_LIMIT_S = 60
# Of the channels of examples/channels.toml, the one that can send.
SENDING_CHANNEL, RECIPIENT = "202105102694809992", "8618257518838"
FONT_SIZE_PX, CELL_WIDTH_PX, CELL_HEIGHT_PX, MARGIN_PX = 20, 12, 24, 18
BACKGROUND, FOREGROUND, DIM = "1b1f27", "d7dae0", "8b93a1"
# The terminal's own colors, by pyte's names.
COLORS = {
    "black": "3b4252", "red": "e06c75", "green": "98c379", "brown": "e5c07b", "blue": "61afef", "magenta": "c678dd",
    "cyan": "56b6c2", "white": "d7dae0", "brightblack": "8b93a1", "brightred": "ff7a85", "brightgreen": "b5e890",
    "brightbrown": "ffd68a", "brightyellow": "ffd68a", "brightblue": "82c4ff", "brightmagenta": "dd9bf0",
    "brightcyan": "7fd5e0", "brightwhite": "ffffff",
}
# Colors of the 256 that are the terminal's own too, as pyte names them.
INDEXED = dict(zip(
    ["000000", "cd0000", "00cd00", "cdcd00", "0000ee", "cd00cd", "00cdcd", "e5e5e5", "7f7f7f", "ff0000", "00ff00", "ffff00", "5c5cff",
     "ff00ff", "00ffff", "ffffff"],
    ["black", "red", "green", "brown", "blue", "magenta", "cyan", "white", "brightblack", "brightred", "brightgreen", "brightbrown",
     "brightblue", "brightmagenta", "brightcyan", "brightwhite"]))


def with_packages():
    """Runs this script again in an environment that has the packages, and makes it first where it is missing."""
    home = ROOT / "target/picture"
    listed, python = home / "installed.txt", home / "bin/python"
    if pathlib.Path(sys.prefix) == home:
        return
    if not listed.exists() or listed.read_text() != "\n".join(PACKAGES):
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
        listed.write_text("\n".join(PACKAGES))
    os.execv(python, [python, __file__, *sys.argv[1:]])


class Gateway:
    """`imchannel up --simulate` in a scratch folder, in which commands find it by themselves."""

    def __init__(self, program):
        self.program, self.folder = program, pathlib.Path(tempfile.mkdtemp(prefix="imchannel-picture-"))
        # Settings of the caller would lead elsewhere.
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("IMCHANNEL_")}
        self.log = open(self.folder / "up.log", "w+", encoding="utf-8", errors="replace")
        self.up = subprocess.Popen(
            [program, "up", "--channels", ROOT / "examples/channels.toml", "--simulate", "--simulate-rate", "40", "--quiet",
             "--ingress", "127.0.0.1:0", "--media", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.sends = []

    def wait(self):
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            said = (self.folder / "up.log").read_text(encoding="utf-8", errors="replace")
            if "ready:" in said:
                return
            if self.up.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the gateway did not become ready:\n{said}")
            time.sleep(0.1)

    def send(self):
        """Sends a message, and does not wait for its reports."""
        self.sends.append(subprocess.Popen(
            [self.program, "send", "--channel", SENDING_CHANNEL, "--to", RECIPIENT, "--text", "Your order is on its way."],
            cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def stop(self):
        for process in [*self.sends, self.up]:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in [*self.sends, self.up]:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def screen_of(gateway, columns, rows, seconds):
    """The screen of `top` after some seconds."""
    import pyte

    class Screen(pyte.Screen):
        """pyte knows no dim text: it is kept as blinking text, which nothing here uses."""

        def select_graphic_rendition(self, *attributes, **more):
            super().select_graphic_rendition(*attributes, **more)
            if attributes[:1] in [(38,), (48,)]:
                return
            for attribute in attributes or (0,):
                if attribute in (0, 2, 22):
                    self.cursor.attrs = self.cursor.attrs._replace(blink=attribute == 2)

    screen = Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(gateway.folder)
        os.execvpe(gateway.program, [gateway.program, "top"], {**gateway.environment, "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    end, next_send, is_open = time.monotonic() + seconds, time.monotonic(), True
    while is_open and time.monotonic() < end:
        if time.monotonic() >= next_send:
            gateway.send()
            next_send += 1
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                piece = b""
            is_open = bool(piece)
            stream.feed(piece)
    if is_open:
        os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    os.close(terminal)
    text = "\n".join(screen.display)
    if not is_open or not text.strip():
        raise SystemExit(f"`imchannel top` exited unexpectedly, or showed nothing:\n{text}")
    return screen


def color(name, default):
    if name == "default":
        name = default
    name = INDEXED.get(name, name)
    return "#" + COLORS.get(name, name)


def draw(screen, out):
    from PIL import Image, ImageDraw, ImageFont

    try:
        fonts = {bold: ImageFont.truetype(f"DejaVuSansMono{'-Bold' if bold else ''}.ttf", FONT_SIZE_PX) for bold in (False, True)}
    except OSError:
        raise SystemExit("the font DejaVu Sans Mono is missing (on Debian: apt-get install fonts-dejavu-core)") from None
    size = (screen.columns * CELL_WIDTH_PX + 2 * MARGIN_PX, screen.lines * CELL_HEIGHT_PX + 2 * MARGIN_PX)
    image = Image.new("RGB", size, "#" + BACKGROUND)
    pen = ImageDraw.Draw(image)
    for row in range(screen.lines):
        for column in range(screen.columns):
            cell = screen.buffer[row][column]
            front, back = color(cell.fg, DIM if cell.blink else FOREGROUND), color(cell.bg, BACKGROUND)
            if cell.reverse:
                front, back = back, front
            x, y = MARGIN_PX + column * CELL_WIDTH_PX, MARGIN_PX + row * CELL_HEIGHT_PX
            if back != "#" + BACKGROUND:
                pen.rectangle([x, y, x + CELL_WIDTH_PX - 1, y + CELL_HEIGHT_PX - 1], fill=back)
            if cell.data.strip():
                pen.text((x, y + 1), cell.data, font=fonts[cell.bold], fill=front)
            if cell.underscore:
                pen.line([x, y + CELL_HEIGHT_PX - 2, x + CELL_WIDTH_PX - 1, y + CELL_HEIGHT_PX - 2], fill=front)
    out.parent.mkdir(parents=True, exist_ok=True)
    image.quantize(256).save(out, optimize=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/images/top.png")
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=30, help="how long `top` runs before the picture is taken")
    parser.add_argument("--no-build", action="store_true", help="take target/debug/imchannel as it is")
    options = parser.parse_args()
    with_packages()
    if not options.no_build:
        subprocess.run(["cargo", "build", "--locked", "--bin", "imchannel"], cwd=ROOT, check=True)
    gateway = Gateway(ROOT / "target/debug/imchannel")
    try:
        gateway.wait()
        screen = screen_of(gateway, options.columns, options.rows, options.seconds)
    finally:
        gateway.stop()
    draw(screen, options.out)
    print("\n".join(line.rstrip() for line in screen.display))
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
