// @anthropic-ai/sdk: messages.
import Anthropic from "@anthropic-ai/sdk";
import {
  ASKS_FOR_TOOL, BASE, BROKE_KEY, CITY, KEY, MODEL, PROMPT, WEATHER, WRONG_KEY, ensure, refused, run,
} from "./cells.mjs";

const client = new Anthropic({ baseURL: BASE, apiKey: KEY });
const messages = [{ role: "user", content: PROMPT }];
const tools = [{ name: "get_weather", description: "The weather.", input_schema: CITY }];
const ask = (apiKey = KEY, model = MODEL) =>
  new Anthropic({ baseURL: BASE, apiKey }).messages.create({ model, max_tokens: 50, messages });

await run({
  async text() {
    const done = await client.messages.create({ model: MODEL, max_tokens: 500, messages });
    ensure(done.content[0].text.includes(PROMPT) && done.stop_reason === "end_turn");
  },
  async stream() {
    const done = await client.messages.stream({ model: MODEL, max_tokens: 500, messages }).finalMessage();
    ensure(done.content[0].text.includes(PROMPT));
  },
  async tools() {
    const asked = { role: "user", content: ASKS_FOR_TOOL };
    const options = { model: MODEL, max_tokens: 500, tools };
    const done = await client.messages
      .stream({ ...options, messages: [asked], tool_choice: { type: "any" } })
      .finalMessage();
    const call = done.content.find((block) => block.type === "tool_use");
    ensure(done.stop_reason === "tool_use" && "city" in call.input);
    const result = { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: WEATHER }] };
    const said = { role: "assistant", content: done.content };
    ensure((await client.messages.create({ ...options, messages: [asked, said, result] })).content[0].text.includes(WEATHER));
  },
  unauthorized: refused(() => ask(WRONG_KEY), 401),
  over_budget: refused(() => ask(BROKE_KEY), 429),
  unknown_model: refused(() => ask(KEY, "no-such-model"), 404),
});
