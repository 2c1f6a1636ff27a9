// What each program reports: a line of JSON for each thing that it tried. It runs beside its client's own packages.
export const BASE = process.env.COMPAT_URL;
export const KEY = process.env.COMPAT_KEY;
export const BROKE_KEY = process.env.COMPAT_BROKE_KEY; // of a tenant that has spent its budget
export const WRONG_KEY = "sk-nobody";
export const MODEL = process.env.COMPAT_MODEL;
export const EMBEDDING_MODEL = process.env.COMPAT_EMBEDDING_MODEL;
export const PROMPT = "What is an event loop?";
export const ASKS_FOR_TOOL = "Call the tool get_weather for the city of Oslo, then say what it said.";
export const WEATHER = "rain, 7 degrees";
export const PERSON = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};
export const CITY = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};

export function ensure(holds, why) {
  if (!holds) throw new Error(why ?? "not as it should be");
}

export function refused(attempt, status) {
  return async () => {
    let failure;
    try {
      await attempt();
    } catch (error) {
      failure = error;
    }
    ensure(failure !== undefined, "it was not refused");
    const said = failure.status ?? failure.statusCode ?? failure.lastError?.statusCode;
    ensure(said === status, `${said}: ${failure.message}`);
  };
}

export async function run(cells) {
  const only = (process.env.COMPAT_CELLS ?? "").split(" ").filter(Boolean);
  for (const [cell, attempt] of Object.entries(cells)) {
    if (only.length && !only.includes(cell)) continue;
    let told;
    try {
      await attempt();
      told = { cell, ok: true };
    } catch (error) {
      told = { cell, ok: false, why: `${error.name}: ${error.message}`.slice(0, 600) };
    }
    console.log("COMPAT " + JSON.stringify(told));
  }
  process.exit(0);
}
