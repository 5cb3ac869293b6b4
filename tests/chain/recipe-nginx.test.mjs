// The recipe deploy/recipes/nginx.

import { promises } from "./lib/promises.mjs";

promises("nginx");
