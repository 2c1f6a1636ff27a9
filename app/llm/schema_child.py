"""The process that holds one long answer to its schema and ends: `python -m app.llm.schema_child`.

It reads the schema's length in eight digits, the schema and the answer, and says 1 or 0.
"""

import json
import sys

from app.llm.schemas import is_met

CPU_SECONDS = 5
MEMORY_BYTES = 2 * 2**30


def main() -> None:
    _limit()
    said = sys.stdin.buffer.read()
    length = int(said[:8])
    schema, text = json.loads(said[8 : 8 + length]), said[8 + length :].decode()
    sys.stdout.write("1" if is_met(text, schema) else "0")


def _limit() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    main()
