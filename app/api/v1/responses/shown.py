"""What a response repeats of its request, in full: the interface leaves nothing out."""

from typing import Any

from app.core.items import Options, OutputFormat, Tool

UNASKED = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "top_logprobs": 0, "service_tier": "default"}
REPEATED = (
    "model",
    "max_output_tokens",
    "max_tool_calls",
    "temperature",
    "top_p",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "truncation",
    "safety_identifier",
    "prompt_cache_key",
    "store",
    "background",
)


def shown(options: Options, instructions: str, extra: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: extra.get(name) for name in REPEATED},
        **UNASKED,
        "instructions": instructions or None,
        "tools": [_tool(tool) for tool in options.tools],
        "text": {"format": _format(options.output_format), "verbosity": extra.get("verbosity")},
    }


def _tool(tool: Tool) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description or None,
        "parameters": tool.parameters or None,
        "strict": tool.strict,
    }


def _format(wanted: OutputFormat | None) -> dict[str, Any]:
    if wanted is None:
        return {"type": "text"}
    if wanted.schema is None:
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "name": wanted.name,
        "description": wanted.description or None,
        "schema": wanted.schema,
        "strict": bool(wanted.strict),
    }
