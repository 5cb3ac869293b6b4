import { fireEvent, screen, waitFor } from "@solidjs/testing-library";
import userEvent from "@testing-library/user-event";
import { describe, expect, it, vi } from "vitest";
import { ApiError, api } from "../api/client";
import { aSession, show } from "../test-page";
import { SessionList } from "./SessionList";

const ago = (minutes: number) => new Date(Date.now() - minutes * 60_000).toISOString();
const named = (name: string, minutes: number, over = {}) =>
  aSession({ hash: name.padEnd(12, "0"), repoUrl: `https://h/${name}`, lastActivity: ago(minutes), ...over });
const names = () => screen.getAllByRole("listitem").map((row) => row.querySelector("a span")?.textContent);

describe("the list", () => {
  it("says what to do where there is none", () => {
    show(SessionList);
    expect(screen.getByText(/No sessions yet/)).toBeTruthy();
  });

  it("shows the newest activity first", () => {
    show(SessionList, [named("old", 9), named("new", 1), named("mid", 5)]);
    expect(names()).toEqual(["new", "mid", "old"]);
  });

  it("keeps its order while the pointer is on it", () => {
    const page = show(SessionList, [named("a", 5), named("b", 9)]);
    fireEvent.pointerEnter(screen.getByRole("list"));
    page.setSessions([named("a", 5), named("b", 0)]);
    expect(names()).toEqual(["a", "b"]);
    fireEvent.pointerLeave(screen.getByRole("list"));
    expect(names()).toEqual(["b", "a"]);
  });

  it("can be searched from nine on", async () => {
    const nine = Array.from({ length: 9 }, (_, n) => named(`repo${n}`, n));
    const page = show(SessionList, nine.slice(1));
    expect(screen.queryByRole("searchbox")).toBeNull();
    page.setSessions(nine);
    await userEvent.type(screen.getByRole("searchbox"), "REPO3");
    expect(names()).toEqual(["repo3"]);
    await userEvent.type(screen.getByRole("searchbox"), "x");
    expect(screen.getByText("No session matches.")).toBeTruthy();
  });

  it("leads into a running session, and to the page of any other", () => {
    show(SessionList, [
      aSession(),
      aSession({ hash: "b48da0606867", state: "stopped", url: null, lastActivity: ago(3) }),
    ]);
    const [running, stopped] = screen.getAllByRole("link").map((link) => link.getAttribute("href"));
    expect(running).toBe("http://a48da0606867.localhost:3000/L3g/session/ses_1");
    expect(stopped).toBe("/session/b48da0606867");
  });

  it("counts down, unless the agent is at work or nothing ever stops it", () => {
    const page = show(SessionList, [aSession({ lastActivity: ago(3) })]);
    expect(screen.getByText(/stops in 2[67] min/)).toBeTruthy();
    page.setSessions([aSession({ busy: true })]);
    expect(screen.getByText(/agent at work/)).toBeTruthy();
    page.setSessions([aSession({ busy: false, idleTimeoutMinutes: 0 })]);
    expect(screen.queryByText(/stops/)).toBeNull();
    page.setSessions([aSession({ reason: { code: "not_answering", message: "m" } })]);
    expect(screen.getByText(/opencode does not answer, so it is not stopped/)).toBeTruthy();
    expect(screen.queryByText(/stops in/)).toBeNull();
  });

  it("stops and resumes, and says why it could not", async () => {
    const stop = vi.spyOn(api, "stop").mockResolvedValue({} as never);
    const resume = vi.spyOn(api, "resume").mockRejectedValue(new ApiError(503, "unavailable", "not now"));
    const page = show(SessionList, [aSession()]);
    await userEvent.click(screen.getByRole("button", { name: /^Stop/ }));
    expect(stop).toHaveBeenCalledWith("a48da0606867");
    page.setSessions([aSession({ state: "stopped", url: null })]);
    await userEvent.click(screen.getByRole("button", { name: /^Resume/ }));
    expect(resume).toHaveBeenCalled();
    await waitFor(() => expect(screen.getByRole("alert").textContent).toBe("Not now"));
  });
});
