// Vercel's ai: `openai()` speaks responses, `openai.chat()` and openai-compatible chat completions.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import {
  ASKS_FOR_TOOL, BASE, BROKE_KEY, EMBEDDING_MODEL, KEY, MODEL, PERSON, PROMPT, WEATHER, WRONG_KEY,
  ensure, refused, run,
} from "./cells.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = (apiKey = KEY) => createOpenAI({ baseURL: `${BASE}/v1`, apiKey });
const compatible = createOpenAICompatible({
  name: "here", baseURL: `${BASE}/v1`, apiKey: KEY, supportsStructuredOutputs: true, includeUsage: true,
});
const models = [openai()(MODEL), openai().chat(MODEL), compatible(MODEL)];
const weather = tool({
  description: "The weather of a city.", inputSchema: z.object({ city: z.string() }), execute: async () => WEATHER,
});

await run({
  async text() {
    for (const model of models) ensure((await generateText({ model, prompt: PROMPT })).text.includes(PROMPT));
  },
  async stream() {
    for (const model of models) {
      let text = "";
      const result = streamText({ model, prompt: PROMPT });
      for await (const piece of result.textStream) text += piece;
      ensure(text.includes(PROMPT) && (await result.usage).outputTokens > 0);
    }
  },
  async structured() {
    for (const model of models) {
      const output = Output.object({ schema: jsonSchema(PERSON) });
      ensure("age" in (await generateText({ model, prompt: PROMPT, output })).output);
    }
  },
  async tools() {
    for (const model of models) {
      const done = await generateText({
        model, prompt: ASKS_FOR_TOOL, tools: { get_weather: weather }, stopWhen: stepCountIs(2),
      });
      ensure(done.text.includes(WEATHER));
    }
  },
  async embeddings() {
    const found = await embedMany({ model: openai().embedding(EMBEDDING_MODEL), values: ["one", "two"] });
    ensure(found.embeddings.length === 2);
  },
  unauthorized: refused(() => generateText({ model: openai(WRONG_KEY)(MODEL), prompt: PROMPT, maxRetries: 0 }), 401),
  over_budget: refused(() => generateText({ model: openai(BROKE_KEY)(MODEL), prompt: PROMPT, maxRetries: 0 }), 429),
  unknown_model: refused(() => generateText({ model: openai()("no-such-model"), prompt: PROMPT, maxRetries: 0 }), 404),
});
