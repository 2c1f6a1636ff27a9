// A typed client from the OpenAPI description: npx openapi-typescript http://localhost:8000/openapi.json -o schema.d.ts
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

export async function firstMessage(baseUrl: string, email: string, password: string): Promise<string> {
  const client = createClient<paths>({ baseUrl });
  const login = await client.POST("/login", { body: { email, password } });
  if (!login.data) throw new Error(login.error.detail);
  client.use({
    onRequest({ request }) {
      request.headers.set("Authorization", `Bearer ${login.data.access_token}`);
      return request;
    },
  });
  const sent = await client.POST("/messages", { body: { content: "What is async Python?" } });
  // A string is a stream, which comes only with `stream: true`.
  const message = sent.data;
  if (!message || typeof message === "string") throw new Error(sent.error?.detail);
  const listed = await client.GET("/messages", { params: { query: { limit: 20 } } });
  return listed.data?.find((one) => one.id === message.id)?.response ?? message.response;
}
