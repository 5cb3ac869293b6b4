// The recipe deploy/recipes/traefik.

import { promises } from "./lib/promises.mjs";

promises("traefik");
