import type { ModelSettings } from "./config";
import type { Model, ModelLists } from "./models";

/** Makes `opencode.json`: the providers with their models, and the model to start with. */
export function opencodeConfig(lists: ModelLists, settings: ModelSettings): string {
  const config = {
    $schema: "https://opencode.ai/config.json",
    provider: {
      openrouter: { models: models(lists.paid) },
      "openrouter-free": {
        name: "OpenRouter (free)",
        npm: "@ai-sdk/openai-compatible",
        options: { baseURL: "https://openrouter.ai/api/v1", apiKey: "{env:OPENROUTER_FREE_API_KEY}" },
        models: models(lists.free),
      },
      ...llamaCpp(lists.local, settings.llamaCppUrl),
    },
    model: settings.defaultModel,
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

/** The provider has the original's name, so that a default model like `flinker/…` stays valid. */
function llamaCpp(list: Model[], url: string | undefined): Record<string, unknown> {
  if (url === undefined || list.length === 0) return {};
  const options = { baseURL: `${url.replace(/\/+$/, "")}/v1` };
  return { flinker: { name: "llama.cpp", npm: "@ai-sdk/openai-compatible", options, models: models(list) } };
}

function models(list: Model[]): Record<string, unknown> {
  return Object.fromEntries(
    list.map(({ id, name, context, output }) => [id, { name, limit: { context, output } }]),
  );
}
