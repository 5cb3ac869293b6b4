import { screen, waitFor } from "@solidjs/testing-library";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { aSession, renderComponent } from "../test-page";
import { SessionList } from "./SessionList";

/** Stands in for the browser's EventSource; the tests send the events. */
class FakeSource extends EventTarget {
  static all: FakeSource[] = [];
  onerror?: () => void;
  closed = false;
  constructor(readonly url: string) {
    super();
    FakeSource.all.push(this);
  }
  close() {
    this.closed = true;
  }
  send(name: string, data: unknown) {
    this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data) }));
  }
}

const message = (number: number, text: string, role = "assistant") => ({
  partID: `prt_${number}`,
  messageID: `msg_${number}`,
  sessionID: "ses_1",
  role,
  text,
  time: number,
});
const texts = () =>
  screen
    .getAllByRole("listitem")
    .flatMap((item) => (item.dataset.role ? [item.lastElementChild?.textContent] : []));
const last = () => FakeSource.all.at(-1) as FakeSource;

describe("the messages of a row", () => {
  beforeEach(() => {
    FakeSource.all = [];
    vi.stubGlobal("EventSource", FakeSource);
  });
  afterEach(() => vi.unstubAllGlobals());

  it("unfold by button, are live, and are text", async () => {
    renderComponent(SessionList, [aSession()]);
    const button = screen.getByRole("button", { name: /^Messages of/ });
    expect(button.getAttribute("aria-expanded")).toBe("false");
    await userEvent.click(button);
    expect(button.getAttribute("aria-expanded")).toBe("true");
    await waitFor(() => expect(last().url).toBe("/api/sessions/a48da0606867/progress/stream"));
    last().send("snapshot", { messages: [message(1, "<b>do it</b>", "user"), message(3, "on")] });
    expect(texts()).toEqual(["<b>do it</b>", "on"]);
    last().send("message", message(3, "on it"));
    last().send("message", message(2, "between"));
    expect(texts()).toEqual(["<b>do it</b>", "between", "on it"]);
    last().send("snapshot", { messages: [] });
    expect(screen.getByText("No messages yet.")).toBeTruthy();
    await userEvent.click(button);
    expect(last().closed).toBe(true);
  });

  it("unfold one row at a time, also by keyboard", async () => {
    renderComponent(SessionList, [aSession(), aSession({ hash: "b48da0606867", branch: "other" })]);
    const [first, second] = screen.getAllByRole("link");
    first?.focus();
    await userEvent.keyboard("{ArrowRight}");
    await waitFor(() => expect(FakeSource.all.length).toBe(1));
    second?.focus();
    await userEvent.keyboard("{ArrowRight}");
    await waitFor(() => expect(FakeSource.all.length).toBe(2));
    expect(FakeSource.all.map(({ closed }) => closed)).toEqual([true, false]);
    await userEvent.keyboard("{ArrowLeft}");
    expect(FakeSource.all.map(({ closed }) => closed)).toEqual([true, true]);
  });

  it("fold when the session stops", async () => {
    const page = renderComponent(SessionList, [aSession()]);
    await userEvent.click(screen.getByRole("button", { name: /^Messages of/ }));
    await waitFor(() => expect(FakeSource.all.length).toBe(1));
    page.setSessions([aSession({ state: "stopped", url: null })]);
    expect(last().closed).toBe(true);
    expect(screen.queryByRole("button", { name: /^Messages of/ })).toBeNull();
  });

  it("says that the agent waits for an answer", () => {
    renderComponent(SessionList, [aSession({ busy: true, waiting: true })]);
    expect(screen.getByText(/agent waits for your answer/)).toBeTruthy();
  });
});
