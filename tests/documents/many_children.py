"""Reads many files, each in a child that is forked with the readers already there: a fresh one takes a quarter second.

Prints how many gave what: a media type, a code of a failure, or the signal that the child died of.
"""

import io
import os
import random
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator

import docx  # noqa: F401 - here, so that no child does
import pptx  # noqa: F401
import pypdfium2  # noqa: F401
import python_calamine  # noqa: F401
import selectolax.lexbor  # noqa: F401

from app.documents.extraction import child, confinement, frames
from app.documents.extraction.limits import MIB, Limits
from app.documents.failures import ExtractionFailed
from tests.documents import files

LIMITS = Limits(memory=512 * MIB, cpu_seconds=2)
TEXTS = (b"# A\n\n- b\n\n```\nc\n", b"<h1>A</h1><table><tr><td>b</table><p>c", b'a,"b"\n1,2\n')
PIECES = (b"<", b"</p>", b"<table>", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"#" * 9, b'"', b"%PDF-", b"PK\x03\x04")
NAMES = ("a.txt", "a.md", "a.html", "a.csv", "a.pdf", "a.docx", "a", "\x00/../é\ud800.md")


def made(dice: random.Random) -> bytes:
    kind = dice.randrange(10)
    if kind == 0:
        return dice.randbytes(dice.randrange(1, 3000))
    content = dice.choice([*BINARIES, *TEXTS])
    if kind == 1:
        return content[: dice.randrange(len(content))]
    if kind < 7 and content.startswith(b"PK"):
        # Within a part, whose checksum is right.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            name = dice.choice(archive.namelist())
            return files.with_part(content, name, changed(archive.read(name), dice))
    return changed(content, dice)


def changed(original: bytes, dice: random.Random) -> bytes:
    content = bytearray(original)
    for _ in range(dice.choice((1, 3, 30))):
        place = dice.randrange(len(content))
        if dice.random() < 0.5:
            content[place] = dice.randrange(256)
        elif dice.random() < 0.5:
            content[place:place] = dice.choice(PIECES)
        else:
            other = dice.randrange(len(content))
            content[place : place + 50] = content[other : other + 50]
    return bytes(content)


def outcome(content: bytes, name: str) -> str:
    with tempfile.TemporaryFile() as given:
        given.write(frames.asked(content, name, None, LIMITS) + content)
        given.seek(0)
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(given.fileno(), 0)
            os.dup2(into, 1)
            os.closerange(3, 64)
            confinement._NICENESS = 0  # a busy machine would let each of them wait
            child.main()
            os._exit(99)
        os.close(into)
        with os.fdopen(out, "rb") as answers:
            answer = answers.read()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        return f"exit {code}"
    head = answer[1 : 1 + frames.ANSWERED.size]
    kind, sizes = frames.lengths(head, LIMITS)
    parts, place = [], 1 + len(head)
    for size in sizes:
        parts.append(answer[place : place + size])
        place += size
    assert place == len(answer)
    try:
        return frames.unpacked(kind, parts, LIMITS).media_type
    except ExtractionFailed as failure:
        return failure.code


def outcomes(seed: int, number: int) -> Iterator[str]:
    dice = random.Random(seed)
    for _ in range(number):
        yield outcome(made(dice), dice.choice(NAMES))


BINARIES = (
    files.pdf(["one", None, "three"]),
    files.word(),
    files.slides(),
    files.sheets(),
)

if __name__ == "__main__":
    for what, times in sorted(Counter(outcomes(int(sys.argv[1]), int(sys.argv[2]))).items()):
        sys.stdout.write(f"{times} {what}\n")
