"""Runs a program on a terminal of its own and plays a script against it.

usage: terminal.py '[["expect", "> "], ["send", "hello\\r"], ["end"]]' PROGRAM ARGUMENTS...

["expect", TEXT]  waits until TEXT is on the screen after what was matched before; cursor movements do not count
["send", TEXT]    types TEXT
["pause"]         waits until nothing was written for a moment
["raw"]           fails unless the program has the terminal in raw mode
["signal", NAME]  sends the program a signal, such as TERM
["end"]           waits until the program ends

Writes one JSON object: the transcript, the exit code, whether the terminal was left as a shell needs it, and the first
step that failed, if one did.
"""

import json
import os
import pty
import re
import select
import signal
import sys
import termios
import time

STEP_SECONDS = 60
QUIET_SECONDS = 0.3
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>])")


class Screen:
    def __init__(self, terminal):
        self.terminal, self.raw, self.at, self.open = terminal, b"", 0, True

    def text(self):
        return ESCAPES.sub("", self.raw.decode("utf-8", "replace"))

    def read(self, seconds):
        """One piece of output; False when there was none for so long, or there is no more."""
        if not self.open or not select.select([self.terminal], [], [], seconds)[0]:
            return False
        try:
            piece = os.read(self.terminal, 65536)
        except OSError:
            piece = b""
        self.open = bool(piece)
        self.raw += piece
        return self.open

    def expect(self, wanted):
        deadline = time.monotonic() + STEP_SECONDS
        while True:
            found = self.text().find(wanted, self.at)
            if found >= 0:
                self.at = found + len(wanted)
                return None
            left = deadline - time.monotonic()
            if left <= 0 or not (self.read(min(left, 1)) or self.open):
                return f"{wanted!r} was not seen"


def cooked(terminal):
    """Whether lines are edited and shown by the terminal itself, and Ctrl-C is a signal."""
    wanted = termios.ICANON | termios.ECHO | termios.ISIG
    return termios.tcgetattr(terminal)[3] & wanted == wanted


def play(screen, child, step):
    kind = step[0]
    if kind == "expect":
        return screen.expect(step[1])
    if kind == "send":
        os.write(screen.terminal, step[1].encode())
    elif kind == "raw":
        if cooked(screen.terminal):
            return "the terminal is not in raw mode"
    elif kind == "signal":
        os.kill(child, getattr(signal, f"SIG{step[1]}"))
    elif kind == "pause":
        while screen.read(QUIET_SECONDS):
            pass
    elif kind == "end":
        deadline = time.monotonic() + STEP_SECONDS
        while screen.open:
            screen.read(1)
            if time.monotonic() > deadline:
                return "the program did not end"
    return None


def main():
    steps, command = json.loads(sys.argv[1]), sys.argv[2:]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    screen, failed = Screen(terminal), None
    for number, step in enumerate(steps):
        problem = play(screen, child, step)
        if problem:
            failed = f"step {number} {step}: {problem}"
            break
    code = None
    if failed:
        os.kill(child, 9)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
    print(json.dumps({"code": code, "cooked": cooked(terminal), "failed": failed, "screen": screen.text(),
                      "raw": screen.raw.decode("utf-8", "replace")}))


main()
