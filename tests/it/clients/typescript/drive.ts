// Drives a real call through openapi-fetch with the types that openapi-typescript made of the server's own document.
// Usage: drive.js BASE_URL API_KEY DESTINATION TRUNK. Prints one JSON object about the call at the end.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [base, key, destination, trunk] = process.argv.slice(2) as [string, string, string, string];
const LIMIT_MS = 30_000;

const api = createClient<paths>({ baseUrl: base, headers: { authorization: `Bearer ${key}` } });

type Call = components["schemas"]["CallDetail"];

async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const giveUp = Date.now() + LIMIT_MS;
  while (Date.now() < giveUp) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`never: ${what}`);
}

async function call(id: string): Promise<Call> {
  const { data, error } = await api.GET("/v1/calls/{id}", { params: { path: { id } } });
  if (!data) throw new Error(JSON.stringify(error));
  return data;
}

async function turns(id: string): Promise<string[]> {
  const { data, error } = await api.GET("/v1/calls/{id}/transcript", { params: { path: { id } } });
  // The same path also gives text and subtitles; without `format` it is JSON.
  if (!data || typeof data === "string") throw new Error(JSON.stringify(error));
  return data.turns.map((turn) => turn.content);
}

const made = await api.POST("/v1/calls", {
  body: { to_number: destination, trunk_id: trunk, agent_id: "demo" },
});
if (!made.data) throw new Error(JSON.stringify(made.error));
const id = made.data.id;
await until("answered", async () => ((await call(id)).status === "in_progress" ? true : undefined));
const words = "Hello from TypeScript.";
const said = await api.POST("/v1/calls/{id}/say", { params: { path: { id } }, body: { content: words } });
if (!said.data?.success) throw new Error(JSON.stringify(said.error));
await until("spoken", async () => ((await turns(id)).includes(words) ? true : undefined));
const ended = await api.POST("/v1/calls/{id}/end-call", { params: { path: { id } }, body: {} });
if (!ended.data?.success) throw new Error(JSON.stringify(ended.error));
const over = await until("over", async () => {
  const now = await call(id);
  return now.ended_at ? now : undefined;
});
const listed = await api.GET("/v1/calls", {});
console.log(
  JSON.stringify({
    id,
    status: over.status,
    end_reason: over.end_reason,
    turns: await turns(id),
    listed: listed.data?.items.some((row) => row.id === id) ?? false,
  }),
);
