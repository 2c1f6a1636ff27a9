"""The process that reads one file and ends: what the file does to it, it does to nobody else."""

import os
import sys
from typing import BinaryIO

from app.documents.extraction import confinement, frames
from app.documents.extraction.reading import failure_of, prepared


def main() -> None:
    answers = sys.stdout.buffer
    content, name, declared, limits = frames.taken(sys.stdin.buffer)
    confinement.limit(limits)
    alone = confinement.leave_the_network()
    answers.write(frames.ALONE if alone else frames.CONNECTED)
    answers.flush()
    try:
        read = prepared(content, name, declared, limits)
        confinement.leave_the_files()
        answer = frames.written(read())
    except BaseException as error:  # noqa: BLE001 - a library's panic is no Exception
        answer = frames.failed(failure_of(error))
    _send(answers, answer)


def _send(answers: BinaryIO, answer: bytes) -> None:
    answers.write(answer)
    answers.flush()
    # Taking a large document apart, politely, would take as long as reading it.
    os._exit(0)


if __name__ == "__main__":
    main()
