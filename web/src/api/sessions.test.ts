import { createRoot } from "solid-js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { aSession } from "../test-page";
import { createSessions, type Sessions } from "./sessions";

/** A fake event stream, whose events a test sends. */
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
  send(sessions: unknown[]) {
    this.listener?.({ data: JSON.stringify({ email: "alice@example.com", sessions }) });
  }
}

const answer = (sessions: unknown[]) =>
  new Response(JSON.stringify({ email: "alice@example.com", sessions }), {
    headers: { "content-type": "application/json" },
  });

let fetchMock: ReturnType<typeof vi.fn>;
let dispose: () => void;

function open(): Sessions {
  return createRoot((disposeRoot) => {
    dispose = disposeRoot;
    return createSessions();
  });
}

describe("the list of sessions", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("EventSource", FakeEvents);
    fetchMock = vi.fn(async () => answer([]));
    vi.stubGlobal("fetch", fetchMock);
  });
  afterEach(() => {
    dispose();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("follows the stream", async () => {
    const sessions = open();
    await vi.advanceTimersByTimeAsync(10);
    FakeEvents.last.send([aSession({ state: "creating" })]);
    expect(sessions.session("a48da0606867")?.state).toBe("creating");
    FakeEvents.last.send([aSession()]);
    expect(sessions.session("a48da0606867")?.state).toBe("running");
    expect(sessions.connection()).toBe("live");
    FakeEvents.last.send([]);
    expect(sessions.list.sessions).toEqual([]);
  });

  it("is not set back by a list that was requested before the stream sent a newer one", async () => {
    let respond = (_: Response) => {};
    fetchMock.mockImplementation(() => new Promise<Response>((resolve) => (respond = resolve)));
    const sessions = open();
    FakeEvents.last.send([aSession()]);
    respond(answer([aSession({ state: "creating" })]));
    await vi.advanceTimersByTimeAsync(10);
    expect(sessions.session("a48da0606867")?.state).toBe("running");
  });

  it("is polled if no stream comes through", async () => {
    const sessions = open();
    await vi.advanceTimersByTimeAsync(10);
    fetchMock.mockImplementation(async () => answer([aSession()]));
    await vi.advanceTimersByTimeAsync(4_100);
    expect(FakeEvents.last.closed).toBe(true);
    expect(sessions.list.sessions).toHaveLength(1);
    fetchMock.mockImplementation(async () => answer([]));
    await vi.advanceTimersByTimeAsync(5_100);
    expect(sessions.list.sessions).toHaveLength(0);
  });

  it("is polled every second while a session starts", async () => {
    fetchMock.mockImplementation(async () => answer([aSession({ state: "creating" })]));
    open();
    await vi.advanceTimersByTimeAsync(4_100);
    const before = fetchMock.mock.calls.length;
    await vi.advanceTimersByTimeAsync(3_050);
    expect(fetchMock.mock.calls.length - before).toBe(3);
  });

  it("is marked unreachable until the router answers again", async () => {
    const sessions = open();
    await vi.advanceTimersByTimeAsync(10);
    FakeEvents.last.send([]);
    fetchMock.mockRejectedValue(new TypeError("refused"));
    FakeEvents.last.onerror?.();
    await vi.advanceTimersByTimeAsync(10);
    expect(sessions.connection()).toBe("unreachable");
    fetchMock.mockImplementation(async () => answer([]));
    await vi.advanceTimersByTimeAsync(3_100);
    FakeEvents.last.send([]);
    expect(sessions.connection()).toBe("live");
  });

  it.each([
    ["401", new Response("{}", { status: 401 })],
    ["a sign-in page", Object.defineProperty(new Response(), "type", { value: "opaqueredirect" })],
  ])("is marked signed out by %s", async (_, response) => {
    fetchMock.mockResolvedValue(response);
    const sessions = open();
    await vi.advanceTimersByTimeAsync(10);
    expect(sessions.connection()).toBe("signedOut");
  });
});
