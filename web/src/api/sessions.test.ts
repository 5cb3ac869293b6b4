import { createRoot } from "solid-js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { aSession } from "../test-page";
import { createSessions, type Sessions } from "./sessions";

/** A stream that says what the test says. */
class FakeEvents {
  static last: FakeEvents;
  onerror?: () => void;
  closed = false;
  private listener?: (event: { data: string }) => void;
  constructor(readonly url: string) {
    FakeEvents.last = this;
  }
  addEventListener(_: string, listener: (event: { data: string }) => void) {
    this.listener = listener;
  }
  close() {
    this.closed = true;
  }
  say(sessions: unknown[]) {
    this.listener?.({ data: JSON.stringify({ email: "alice@example.com", sessions }) });
  }
}

const answer = (sessions: unknown[]) =>
  new Response(JSON.stringify({ email: "alice@example.com", sessions }), {
    headers: { "content-type": "application/json" },
  });

let fetching: ReturnType<typeof vi.fn>;
let end: () => void;

function open(): Sessions {
  return createRoot((dispose) => {
    end = dispose;
    return createSessions();
  });
}

describe("the list of sessions", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("EventSource", FakeEvents);
    fetching = vi.fn(async () => answer([]));
    vi.stubGlobal("fetch", fetching);
  });
  afterEach(() => {
    end();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("follows the stream", async () => {
    const sessions = open();
    await vi.advanceTimersByTimeAsync(10);
    FakeEvents.last.say([aSession({ state: "creating" })]);
    expect(sessions.session("a48da0606867")?.state).toBe("creating");
    FakeEvents.last.say([aSession()]);
    expect(sessions.session("a48da0606867")?.state).toBe("running");
    expect(sessions.link()).toBe("live");
    FakeEvents.last.say([]);
    expect(sessions.list.sessions).toEqual([]);
  });

  it("asks by itself where no stream comes through", async () => {
    const sessions = open();
    await vi.advanceTimersByTimeAsync(10);
    fetching.mockImplementation(async () => answer([aSession()]));
    await vi.advanceTimersByTimeAsync(4_100);
    expect(FakeEvents.last.closed).toBe(true);
    expect(sessions.list.sessions).toHaveLength(1);
    fetching.mockImplementation(async () => answer([]));
    await vi.advanceTimersByTimeAsync(5_100);
    expect(sessions.list.sessions).toHaveLength(0);
  });

  it("asks each second while something starts", async () => {
    fetching.mockImplementation(async () => answer([aSession({ state: "creating" })]));
    open();
    await vi.advanceTimersByTimeAsync(4_100);
    const before = fetching.mock.calls.length;
    await vi.advanceTimersByTimeAsync(3_050);
    expect(fetching.mock.calls.length - before).toBe(3);
  });

  it("says when the router does not answer, and that it is back", async () => {
    const sessions = open();
    await vi.advanceTimersByTimeAsync(10);
    FakeEvents.last.say([]);
    fetching.mockRejectedValue(new TypeError("refused"));
    FakeEvents.last.onerror?.();
    await vi.advanceTimersByTimeAsync(10);
    expect(sessions.link()).toBe("unreachable");
    fetching.mockImplementation(async () => answer([]));
    await vi.advanceTimersByTimeAsync(3_100);
    FakeEvents.last.say([]);
    expect(sessions.link()).toBe("live");
  });

  it.each([
    ["401", new Response("{}", { status: 401 })],
    ["a sign-in page", Object.defineProperty(new Response(), "type", { value: "opaqueredirect" })],
  ])("knows that one is signed out by %s", async (_, refused) => {
    fetching.mockResolvedValue(refused);
    const sessions = open();
    await vi.advanceTimersByTimeAsync(10);
    expect(sessions.link()).toBe("signedOut");
  });
});
