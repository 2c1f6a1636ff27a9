// @langchain/openai: chat completions and embeddings.
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { z } from "zod";
import {
  ASKS_FOR_TOOL, BASE, BROKE_KEY, EMBEDDING_MODEL, KEY, MODEL, PROMPT, WEATHER, WRONG_KEY, ensure, refused, run,
} from "./cells.mjs";

const configuration = { baseURL: `${BASE}/v1` };
const model = (apiKey = KEY, name = MODEL) => new ChatOpenAI({ model: name, apiKey, configuration, maxRetries: 0 });
const getWeather = tool(async () => WEATHER, {
  name: "get_weather", description: "The weather of a city.", schema: z.object({ city: z.string() }),
});

await run({
  async text() {
    ensure((await model().invoke(PROMPT)).content.includes(PROMPT));
  },
  async stream() {
    let text = "";
    for await (const piece of await model().stream(PROMPT)) text += piece.content;
    ensure(text.includes(PROMPT));
  },
  async structured() {
    const person = z.object({ name: z.string(), age: z.number().int() });
    ensure("age" in (await model().withStructuredOutput(person, { name: "person", method: "jsonSchema" }).invoke(PROMPT)));
  },
  async tools() {
    const asked = new HumanMessage(ASKS_FOR_TOOL);
    const called = await model().bindTools([getWeather], { tool_choice: "required" }).invoke([asked]);
    const [call] = called.tool_calls;
    const result = new ToolMessage({ content: WEATHER, tool_call_id: call.id });
    ensure((await model().bindTools([getWeather]).invoke([asked, called, result])).content.includes(WEATHER));
  },
  async embeddings() {
    const embedder = new OpenAIEmbeddings({ model: EMBEDDING_MODEL, apiKey: KEY, configuration });
    ensure((await embedder.embedDocuments(["one", "two"])).length === 2);
  },
  unauthorized: refused(() => model(WRONG_KEY).invoke(PROMPT), 401),
  over_budget: refused(() => model(BROKE_KEY).invoke(PROMPT), 429),
  unknown_model: refused(() => model(KEY, "no-such-model").invoke(PROMPT), 404),
});
