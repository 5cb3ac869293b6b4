import { cleanup } from "@solidjs/testing-library";
import { afterEach } from "vitest";

// happy-dom lacks matchMedia, by which the page finds out whether there is a mouse.
globalThis.matchMedia ??= ((query: string) => ({ matches: false, media: query })) as never;
afterEach(cleanup);
