import { fireEvent, screen, waitFor } from "@solidjs/testing-library";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { ApiError, api } from "../api/client";
import { aSession, renderComponent } from "../test-page";
import { SessionList } from "./SessionList";

const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();
const named = (name: string, minutes: number, over = {}) =>
  aSession({ hash: name.padEnd(12, "0"), repoUrl: `https://h/${name}`, lastActivity: ago(minutes), ...over });
const names = () => screen.getAllByRole("listitem").map((row) => row.querySelector("a span")?.textContent);

describe("the list", () => {
  it("explains how to start if there are no sessions", () => {
    renderComponent(SessionList);
    expect(screen.getByText(/No sessions yet/)).toBeTruthy();
  });

  it("is sorted by the newest activity", () => {
    renderComponent(SessionList, [named("old", 9), named("new", 1), named("mid", 5)]);
    expect(names()).toEqual(["new", "mid", "old"]);
  });

  it("keeps its order under the pointer", () => {
    const page = renderComponent(SessionList, [named("a", 5), named("b", 9)]);
    fireEvent.pointerEnter(screen.getByRole("list"));
    page.setSessions([named("a", 5), named("b", 0)]);
    expect(names()).toEqual(["a", "b"]);
    fireEvent.pointerLeave(screen.getByRole("list"));
    expect(names()).toEqual(["b", "a"]);
  });

  it("has a search field from nine sessions on", async () => {
    const nine = Array.from({ length: 9 }, (_, n) => named(`repo${n}`, n));
    const page = renderComponent(SessionList, nine.slice(1));
    expect(screen.queryByRole("searchbox")).toBeNull();
    page.setSessions(nine);
    await userEvent.type(screen.getByRole("searchbox"), "REPO3");
    expect(names()).toEqual(["repo3"]);
    await userEvent.type(screen.getByRole("searchbox"), "x");
    expect(screen.getByText("No sessions match your search.")).toBeTruthy();
  });

  it("links a running session to its host, and any other to its page", () => {
    renderComponent(SessionList, [
      aSession(),
      aSession({ hash: "b48da0606867", state: "stopped", url: null, lastActivity: ago(3) }),
    ]);
    const [running, stopped] = screen.getAllByRole("link").map((link) => link.getAttribute("href"));
    expect(running).toBe("http://a48da0606867.localhost:3000/L3g/session/ses_1");
    expect(stopped).toBe("/session/b48da0606867");
  });

  it("counts down to the idle stop, unless the session is not stopped when idle", () => {
    const page = renderComponent(SessionList, [aSession({ lastActivity: ago(3) })]);
    expect(screen.getByText(/stops in 2[67] min/)).toBeTruthy();
    page.setSessions([aSession({ busy: true })]);
    expect(screen.getByText(/agent at work/)).toBeTruthy();
    page.setSessions([aSession({ busy: false, idleTimeoutMinutes: 0 })]);
    expect(screen.queryByText(/stops/)).toBeNull();
    page.setSessions([aSession({ reason: { code: "not_answering", message: "m" } })]);
    expect(screen.getByText(/opencode does not answer, so the session is not stopped/)).toBeTruthy();
    expect(screen.queryByText(/stops in/)).toBeNull();
  });

  it("stops and resumes sessions, and shows why that failed", async () => {
    const stop = vi.spyOn(api, "stop").mockResolvedValue({} as never);
    const resume = vi.spyOn(api, "resume").mockRejectedValue(new ApiError(503, "unavailable", "not now"));
    const page = renderComponent(SessionList, [aSession()]);
    await userEvent.click(screen.getByRole("button", { name: /^Stop/ }));
    expect(stop).toHaveBeenCalledWith("a48da0606867");
    page.setSessions([aSession({ state: "stopped", url: null })]);
    await userEvent.click(screen.getByRole("button", { name: /^Resume/ }));
    expect(resume).toHaveBeenCalled();
    await waitFor(() => expect(screen.getByRole("alert").textContent).toBe("Not now"));
  });
});
