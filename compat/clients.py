"""The clients, at the versions that were tried: what each is installed from, and which program drives it.

A client that cannot do a thing has no such cell: its program does not report it.
"""

from dataclasses import dataclass
from typing import Literal

CELLS = {
    "text": "text",
    "stream": "stream",
    "structured": "structured",
    "tools": "tools",
    "embeddings": "embeddings",
    "unauthorized": "401",
    "over_budget": "429",
    "unknown_model": "unknown model",
    "resume": "resume",
}
NODE_22 = "node@22.23.3"


@dataclass(frozen=True)
class Client:
    """`packages`: the first one gives the version that is shown. `speaks`: paths under `/v1`."""

    name: str
    kind: Literal["python", "node"]
    packages: tuple[str, ...]
    program: str
    speaks: str
    arguments: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        package = self.packages[0]
        return package.rpartition("@")[2] if self.kind == "node" else package.rpartition("==")[2]


def _python(name: str, program: str, speaks: str, *packages: str, arguments: tuple[str, ...] = ()) -> Client:
    return Client(name, "python", packages, program, speaks, arguments)


def _node(name: str, program: str, speaks: str, *packages: str, arguments: tuple[str, ...] = ()) -> Client:
    return Client(name, "node", (*packages, NODE_22), program, speaks, arguments)


OPENAI = "chat/completions, responses, embeddings"
CHAT, RESPONSES, MESSAGES = "chat/completions", "responses", "messages"
CLIENTS = (
    _python("openai-python", "openai_python.py", OPENAI, "openai==3.57.0"),
    _python("openai-python 2", "openai_python.py", OPENAI, "openai==2.54.0"),
    _node("openai-node", "openai_node.mjs", OPENAI, "openai@7.57.0"),
    _node("openai-node 6", "openai_node.mjs", OPENAI, "openai@6.49.0"),
    _python("langchain-openai", "langchain_openai_py.py", f"{CHAT}, embeddings", "langchain-openai==1.7.4"),
    _node(
        "@langchain/openai", "langchain_js.mjs", f"{CHAT}, embeddings", "@langchain/openai@1.5.8", "@langchain/core", "zod"
    ),
    _python("llama-index", "llama_index_py.py", CHAT, "llama-index-llms-openai-like==0.8.1"),
    _python("pydantic-ai", "pydantic_ai_py.py", f"{CHAT}, {RESPONSES}", "pydantic-ai-slim[openai]==2.68.0"),
    _python("instructor", "instructor_py.py", CHAT, "instructor==1.17.0"),
    _python("openai-agents", "openai_agents_py.py", RESPONSES, "openai-agents==0.24.0"),
    _node("@openai/agents", "openai_agents_js.mjs", RESPONSES, "@openai/agents@0.20.0", "zod"),
    _node(
        "ai (Vercel)", "vercel_ai.mjs", f"{RESPONSES}, {CHAT}, embeddings",
        "ai@7.0.173", "@ai-sdk/openai@4.0.118", "@ai-sdk/openai-compatible@3.0.92", "zod",
    ),
    _python("haystack", "haystack_py.py", f"{CHAT}, embeddings", "haystack-ai==3.4.1"),
    _python("smolagents", "smolagents_py.py", CHAT, "smolagents[openai]==1.26.0"),
    _python("dspy", "dspy_py.py", CHAT, "dspy==3.4.1"),
    _python("llm", "commands.py", CHAT, "llm==0.36", arguments=("llm",)),
    _python("aider", "commands.py", CHAT, "aider-chat==0.86.2", arguments=("aider",)),
    _node("codex", "commands.py", RESPONSES, "@openai/codex@0.169.0", arguments=("codex",)),
    _node("opencode", "commands.py", CHAT, "opencode-ai@1.18.33", arguments=("opencode",)),
    _node("Continue", "commands.py", CHAT, "@continuedev/cli@1.5.47", arguments=("continue",)),
    _python("anthropic-python", "anthropic_python.py", MESSAGES, "anthropic==2.14.0"),
    _node("@anthropic-ai/sdk", "anthropic_node.mjs", MESSAGES, "@anthropic-ai/sdk@1.14.0"),
)  # fmt: skip
FEW = ("openai-node",)
"""What is tried at each change: of Python the tests call the clients themselves."""
