/**
 * The lists of models that opencode offers: OpenRouter's free ones, its most popular paid ones, and those of
 * a llama.cpp server of one's own.
 *
 * A list that cannot be fetched never fails a deployment: the previous one stays.
 */
import type { ModelSettings } from "./config";

/** A model as opencode's configuration needs it. */
export interface Model {
  id: string;
  name: string;
  context: number;
  output: number;
}

/** All lists, each sorted by id, so that a deployment changes something only if a list has changed. */
export interface ModelLists {
  free: Model[];
  paid: Model[];
  local: Model[];
}

/** Bounds of a fetch: whoever answers decides neither how long a deployment takes nor how much it reads. */
export interface Bounds {
  milliseconds: number;
  bytes: number;
}

export const BOUNDS: Bounds = { milliseconds: 15_000, bytes: 8 * 1024 * 1024 };
const PAID_MODELS = 20;
/** A ConfigMap may have 1 MiB in all. */
const MOST_MODELS = 200;
const MOST_OUTPUT = 32_768;

/** Returns the lists as they are now. A list that cannot be had is `previous`'s, and `warn` says why. */
export async function fetchLists(
  settings: ModelSettings,
  previous: ModelLists,
  warn: (message: string) => void,
  bounds: Bounds = BOUNDS,
): Promise<ModelLists> {
  const openrouter = fetchJson(settings.openrouterUrl, bounds);
  const pick = async (
    which: string,
    list: Model[],
    answer: Promise<unknown>,
    models: (answer: unknown) => Model[],
  ) => {
    try {
      return models(await answer);
    } catch (error) {
      warn(`The list of ${which} stays as it was. ${error instanceof Error ? error.message : String(error)}`);
      return list;
    }
  };
  const local = async () => {
    if (settings.llamaCppUrl === undefined) return [];
    const url = `${settings.llamaCppUrl.replace(/\/+$/, "")}/v1/models`;
    return pick("llama.cpp's models", previous.local, fetchJson(url, bounds), llamaCppModels);
  };
  const [free, paid, own] = await Promise.all([
    pick("OpenRouter's free models", previous.free, openrouter, freeModels),
    pick("OpenRouter's paid models", previous.paid, openrouter, paidModels),
    local(),
  ]);
  return { free, paid, local: own };
}

/** Fetches a JSON document. */
export async function fetchJson(url: string, bounds: Bounds): Promise<unknown> {
  const { host } = new URL(url);
  try {
    const response = await fetch(url, {
      headers: { accept: "application/json" },
      redirect: "error",
      signal: AbortSignal.timeout(bounds.milliseconds),
    });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`it answered ${response.status}`);
    }
    return JSON.parse(await readText(response, bounds.bytes));
  } catch (error) {
    throw new Error(`${host}: ${reason(error, bounds)}`);
  }
}

async function readText(response: Response, most: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > most) throw new Error(`the answer has more than ${most} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function reason(error: unknown, bounds: Bounds): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === "TimeoutError") return `no whole answer within ${bounds.milliseconds} ms`;
  if (error instanceof SyntaxError) return "the answer is no JSON";
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

const NEVER_FREE = new Set(["openrouter/free", "openrouter/elephant-alpha"]);

/** The models without a price, except for routers, music and safety classifiers. */
export function freeModels(answer: unknown): Model[] {
  const models = entries(answer).filter(({ id, prices }) => {
    const isFree = prices?.every((price) => price === 0) ?? false;
    return isFree && !NEVER_FREE.has(id) && !id.startsWith("google/lyria-") && !id.includes("guard");
  });
  return finish(models.map((entry) => ({ ...limits(entry), name: `${plainName(entry)} (free)` })));
}

/** The first models with a price: the list is sorted by popularity. */
export function paidModels(answer: unknown): Model[] {
  const models = entries(answer).flatMap((entry) => {
    const [input, output] = entry.prices ?? [];
    // Routers have the price -1.
    if (input === undefined || output === undefined || input < 0 || output < 0 || input + output === 0)
      return [];
    const name = `${plainName(entry)} ($${perMillion(input)}/M in / $${perMillion(output)}/M out)`;
    return [{ ...limits(entry), name }];
  });
  return finish(models.slice(0, PAID_MODELS));
}

/** The models of a llama.cpp server: of one that serves a single model, or of a router of several. */
export function llamaCppModels(answer: unknown): Model[] {
  const models = rows(answer).flatMap((row) => {
    const id = row.id;
    if (!isId(id)) return [];
    const status = isRecord(row.status) ? row.status : {};
    const list: unknown[] | undefined = Array.isArray(status.args) ? status.args : undefined;
    const args = list?.map(String);
    const isChat = args === undefined || args.some((arg) => arg === "--model" || arg === "--hf-repo");
    if (!isChat || args?.includes("--embeddings")) return [];
    const meta = isRecord(row.meta) ? row.meta : {};
    const size = Number(args === undefined ? meta.n_ctx_train : args[args.indexOf("--ctx-size") + 1]);
    const context = Number.isInteger(size) && size > 0 ? size : MOST_OUTPUT;
    return [{ id, name: id, context, output: Math.min(context, MOST_OUTPUT) }];
  });
  return finish(models);
}

/** Whether a value from outside of this program has the form of model lists. */
export function areLists(value: unknown): value is ModelLists {
  const isModel = (model: unknown) =>
    isRecord(model) &&
    isId(model.id) &&
    typeof model.name === "string" &&
    Number.isInteger(model.context) &&
    Number.isInteger(model.output);
  const isList = (list: unknown) => Array.isArray(list) && list.every(isModel);
  return isRecord(value) && isList(value.free) && isList(value.paid) && isList(value.local);
}

interface Entry {
  id: string;
  name: string;
  context?: number;
  output?: number;
  /** US dollars for a token, in and out. */
  prices?: [number, number];
}

function entries(answer: unknown): Entry[] {
  return rows(answer).flatMap((row) => {
    if (!isId(row.id)) return [];
    const pricing = isRecord(row.pricing) ? row.pricing : {};
    const prices = [pricing.prompt, pricing.completion].map((price) =>
      price === undefined ? NaN : Number(price),
    );
    const top = isRecord(row.top_provider) ? row.top_provider : {};
    return [
      {
        id: row.id,
        name: typeof row.name === "string" ? row.name : row.id,
        context: count(row.context_length),
        output: count(top.max_completion_tokens),
        prices: prices.every(Number.isFinite) ? (prices as [number, number]) : undefined,
      },
    ];
  });
}

function limits({ id, context = MOST_OUTPUT, output }: Entry): Omit<Model, "name"> {
  return { id, context, output: output ?? Math.min(context, MOST_OUTPUT) };
}

function plainName({ name }: Entry): string {
  return name
    .replace(/\s*\(free\)$/, "")
    .replace(/\s+/g, " ")
    .trim()
    .slice(0, 120);
}

/** A price for a million tokens, with 4 significant digits at most. */
function perMillion(price: number): string {
  return String(Number((price * 1e6).toPrecision(4)));
}

function finish(models: Model[]): Model[] {
  // What answers without a single model is hardly the list that was asked for.
  if (models.length === 0) throw new Error("the answer has no such model");
  const byId = new Map(models.slice(0, MOST_MODELS).map((model) => [model.id, model]));
  return [...byId.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

function rows(answer: unknown): Record<string, unknown>[] {
  const data = isRecord(answer) ? answer.data : undefined;
  if (!Array.isArray(data)) throw new Error("the answer has no list `data`");
  return data.filter(isRecord);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isId(value: unknown): value is string {
  return typeof value === "string" && /^[\w~][\w./:@~+-]{0,199}$/.test(value);
}

function count(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : undefined;
}
