// The recipe deploy/recipes/oauth2-proxy.

import { promises } from "./lib/promises.mjs";

promises("oauth2-proxy");
