// @openai/agents: responses.
import { Agent, OpenAIResponsesModel, Runner, setTracingDisabled, tool } from "@openai/agents";
import OpenAI from "openai";
import { z } from "zod";
import {
  ASKS_FOR_TOOL, BASE, BROKE_KEY, KEY, MODEL, PROMPT, WEATHER, WRONG_KEY, ensure, refused, run,
} from "./cells.mjs";

setTracingDisabled(true);
const runner = new Runner({ tracingDisabled: true });
const getWeather = tool({
  name: "get_weather", description: "The weather of a city.", parameters: z.object({ city: z.string() }),
  execute: async () => WEATHER,
});

function agent(options = {}, apiKey = KEY, name = MODEL) {
  const client = new OpenAI({ baseURL: `${BASE}/v1`, apiKey });
  return new Agent({ name: "a", model: new OpenAIResponsesModel(client, name), ...options });
}

await run({
  async text() {
    ensure((await runner.run(agent(), PROMPT)).finalOutput.includes(PROMPT));
  },
  async stream() {
    const result = await runner.run(agent(), PROMPT, { stream: true });
    let text = "";
    for await (const piece of result.toTextStream()) text += piece;
    ensure(text.includes(PROMPT));
  },
  async structured() {
    const outputType = z.object({ name: z.string(), age: z.number().int() });
    ensure("age" in (await runner.run(agent({ outputType }), PROMPT)).finalOutput);
  },
  async tools() {
    const made = agent({ tools: [getWeather], modelSettings: { toolChoice: "required" } });
    ensure((await runner.run(made, ASKS_FOR_TOOL)).finalOutput.includes(WEATHER));
  },
  unauthorized: refused(() => runner.run(agent({}, WRONG_KEY), PROMPT), 401),
  over_budget: refused(() => runner.run(agent({}, BROKE_KEY), PROMPT), 429),
  unknown_model: refused(() => runner.run(agent({}, KEY, "no-such-model"), PROMPT), 404),
});
