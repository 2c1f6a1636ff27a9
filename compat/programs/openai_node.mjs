// openai-node: chat completions, responses and embeddings.
import OpenAI from "openai";
import {
  ASKS_FOR_TOOL, BASE, BROKE_KEY, CITY, EMBEDDING_MODEL, KEY, MODEL, PERSON, PROMPT, WEATHER, WRONG_KEY,
  ensure, refused, run,
} from "./cells.mjs";

const client = new OpenAI({ baseURL: `${BASE}/v1`, apiKey: KEY });
const messages = [{ role: "user", content: PROMPT }];
const tool = { type: "function", function: { name: "get_weather", description: "The weather.", parameters: CITY } };

function withKey(apiKey) {
  return new OpenAI({ baseURL: `${BASE}/v1`, apiKey }).chat.completions.create({ model: MODEL, messages });
}

await run({
  async text() {
    const done = await client.chat.completions.create({ model: MODEL, messages });
    ensure(done.choices[0].message.content.includes(PROMPT) && done.usage.total_tokens > 0);
    const answered = await client.responses.create({ model: MODEL, input: PROMPT });
    ensure(answered.output_text.includes(PROMPT));
  },
  async stream() {
    const chunks = await client.chat.completions.create({
      model: MODEL, messages, stream: true, stream_options: { include_usage: true },
    });
    let said = "", usage;
    for await (const chunk of chunks) {
      said += chunk.choices[0]?.delta.content ?? "";
      usage = chunk.usage ?? usage;
    }
    ensure(said.includes(PROMPT) && usage.completion_tokens > 0);
    let text = "", last;
    for await (const event of await client.responses.create({ model: MODEL, input: PROMPT, stream: true })) {
      if (event.type === "response.output_text.delta") text += event.delta;
      last = event;
    }
    ensure(text.includes(PROMPT) && last.type === "response.completed");
  },
  async structured() {
    const json_schema = { name: "person", schema: PERSON, strict: true };
    const done = await client.chat.completions.create({
      model: MODEL, messages, response_format: { type: "json_schema", json_schema },
    });
    ensure("age" in JSON.parse(done.choices[0].message.content));
  },
  async tools() {
    const asked = { role: "user", content: ASKS_FOR_TOOL };
    const done = await client.chat.completions
      .stream({ model: MODEL, messages: [asked], tools: [tool], tool_choice: "required" })
      .finalChatCompletion();
    const { message, finish_reason } = done.choices[0];
    ensure(finish_reason === "tool_calls" && "city" in JSON.parse(message.tool_calls[0].function.arguments));
    const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: WEATHER };
    const last = await client.chat.completions.create({
      model: MODEL, messages: [asked, message, result], tools: [tool],
    });
    ensure(last.choices[0].message.content.includes(WEATHER));
  },
  async embeddings() {
    const found = await client.embeddings.create({ model: EMBEDDING_MODEL, input: ["one", "two"] });
    ensure(found.data.length === 2 && found.data[0].embedding.length > 100);
  },
  unauthorized: refused(() => withKey(WRONG_KEY), 401),
  over_budget: refused(() => withKey(BROKE_KEY), 429),
  unknown_model: refused(() => client.chat.completions.create({ model: "no-such-model", messages }), 404),
  async resume() {
    const stream = await client.responses.create({ model: MODEL, input: PROMPT, stream: true, background: true });
    let id, position, text = "", deltas = 0;
    for await (const event of stream) {
      if (event.type === "response.created") id = event.response.id;
      if (event.type === "response.output_text.delta") {
        text += event.delta;
        deltas += 1;
      }
      position = event.sequence_number;
      if (deltas === 2) break;
    }
    let last;
    for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: position })) {
      ensure(event.sequence_number > position);
      position = event.sequence_number;
      if (event.type === "response.output_text.delta") text += event.delta;
      last = event;
    }
    ensure(last.type === "response.completed" && last.response.output[0].content[0].text === text);
  },
});
