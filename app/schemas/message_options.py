"""How a message is to be answered, as `POST /messages` takes it."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from app.core.items import Effort, Options, OutputFormat, Tool, ToolChoice
from app.llm.schemas import check_parameters, check_schema
from app.schemas.base import STORABLE, RequestBody

MAX_TOOLS = 128
MAX_PAIRS = 16
NAME = r"^[a-zA-Z0-9_-]{1,64}$"


def _held_to(check: Callable[[object], None]) -> AfterValidator:
    def checked(schema: dict[str, Any]) -> dict[str, Any]:
        try:
            check(schema)
        except ValueError as error:
            raise PydanticCustomError("invalid_schema", "{reason}", {"reason": str(error)}) from None
        return schema

    return AfterValidator(checked)


Parameters = Annotated[dict[str, Any], _held_to(check_parameters)]
Schema = Annotated[dict[str, Any], _held_to(check_schema)]
Description = Annotated[str, Field(max_length=10_000), STORABLE]


class ToolAsked(RequestBody):
    """A function of the caller's that the model may call."""

    name: Annotated[str, Field(pattern=NAME)]
    description: Description = ""
    parameters: Annotated[Parameters | None, Field(description="A JSON schema of its arguments.")] = None
    strict: bool | None = None


class ToolNamed(RequestBody):
    name: Annotated[str, Field(pattern=NAME)]


class OutputFormatAsked(RequestBody):
    """Without a `json_schema`: any JSON object."""

    json_schema: Schema | None = None
    name: Annotated[str, Field(pattern=NAME)] = "output"
    description: Description = ""
    strict: bool | None = None


class MessageOptions(RequestBody):
    """What is left out is as the model does it by itself."""

    model: Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$", description="Empty: the default.")] = ""
    max_output_tokens: Annotated[
        int | None, Field(ge=1, le=2**31 - 1, description="At most; the service's own bound holds too.")
    ] = None
    temperature: Annotated[float | None, Field(ge=0, le=2, allow_inf_nan=False)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    stop: Annotated[list[Annotated[str, Field(min_length=1, max_length=255), STORABLE]] | None, Field(max_length=4)] = (
        None
    )
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    reasoning_effort: Effort | None = None
    tools: Annotated[list[ToolAsked] | None, Field(max_length=MAX_TOOLS)] = None
    tool_choice: Literal["auto", "none", "required"] | ToolNamed | None = None
    output_format: Annotated[
        OutputFormatAsked | None, Field(description="The answer is JSON that meets the schema, or the message fails.")
    ] = None
    metadata: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=64), STORABLE],
            Annotated[str, Field(max_length=512), STORABLE],
        ]
        | None,
        Field(max_length=MAX_PAIRS, description="The caller's own words about the message; kept with it."),
    ] = None

    @model_validator(mode="after")
    def _choose_from_them(self) -> Self:
        names = [tool.name for tool in self.tools or []]
        if len(set(names)) < len(names):
            raise PydanticCustomError("tools_alike", "Each tool needs a name of its own")
        chosen = self.tool_choice.name if isinstance(self.tool_choice, ToolNamed) else None
        if (chosen is not None and chosen not in names) or (self.tool_choice == "required" and not names):
            raise PydanticCustomError("no_such_tool", "tool_choice must be one of the tools")
        return self

    def options(self) -> Options:
        return Options(
            max_output_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            stop=tuple(self.stop or ()),
            seed=self.seed,
            reasoning_effort=self.reasoning_effort,
            tools=tuple(
                Tool(tool.name, tool.description, tool.parameters or {}, tool.strict) for tool in self.tools or ()
            ),
            tool_choice=self._choice(),
            output_format=self._format(),
        )

    def _choice(self) -> ToolChoice | None:
        match self.tool_choice:
            case None:
                return None
            case ToolNamed():
                return ToolChoice("named", self.tool_choice.name)
            case mode:
                return ToolChoice(mode)

    def _format(self) -> OutputFormat | None:
        asked = self.output_format
        if asked is None:
            return None
        return OutputFormat(asked.json_schema, asked.name, asked.description, asked.strict)
