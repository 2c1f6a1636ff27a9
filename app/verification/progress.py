"""How far a run is: a line on a terminal that is written over, and nothing elsewhere."""

import sys
from typing import TextIO

WIDTH = 30
CLEAR = "\r\x1b[K"


class Progress:
    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._shows = self._stream.isatty()
        self._total = self._done = 0

    def expect(self, steps: int) -> None:
        self._total += steps

    def step(self, what: str) -> None:
        self._done += 1
        self.tell(what)

    def tell(self, what: str) -> None:
        if not self._shows:
            return
        share = min(1.0, self._done / self._total) if self._total else 0.0
        bar = "#" * round(share * WIDTH)
        self._stream.write(f"{CLEAR}[{bar:.<{WIDTH}}] {share:4.0%} {what[:60]}")
        self._stream.flush()

    def say(self, line: str) -> None:
        """For whoever reads, on a terminal or not."""
        self._stream.write(f"{CLEAR if self._shows else ''}{line}\n")

    def close(self) -> None:
        if self._shows:
            self._stream.write(CLEAR)
            self._stream.flush()
