import { cleanup } from "@solidjs/testing-library";
import { afterEach } from "vitest";

// happy-dom has no such thing; the page asks whether there is a mouse.
globalThis.matchMedia ??= ((query: string) => ({ matches: false, media: query })) as never;
afterEach(cleanup);
