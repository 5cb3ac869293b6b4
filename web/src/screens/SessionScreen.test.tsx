import { screen, waitFor } from "@solidjs/testing-library";
import userEvent from "@testing-library/user-event";
import { afterEach, describe, expect, it, vi } from "vitest";
import { api, type Session, type Stage } from "../api/client";
import { aSession, renderComponent } from "../test-page";
import { SessionScreen } from "./SessionScreen";

const PATH = "/session/a48da0606867";
const open = (...sessions: Session[]) => renderComponent(SessionScreen, sessions, PATH, "/session/:hash");
const stage = (name: Stage["stage"], status: Stage["status"], overrides: Partial<Stage> = {}): Stage => ({
  stage: name,
  status,
  ...overrides,
});

afterEach(() => vi.restoreAllMocks());

describe("a session's page", () => {
  it("shows the stages, and goes to the session once it is running", async () => {
    const replace = vi.spyOn(location, "replace").mockImplementation(() => {});
    const started = new Date(Date.now() - 2_000).toISOString();
    const page = open(
      aSession({
        state: "creating",
        url: null,
        stages: [
          stage("cloning", "active", { startedAt: started, percent: 43, bytes: 12_000_000 }),
          stage("starting", "pending"),
          stage("ready", "pending"),
        ],
      }),
    );
    expect(screen.getByText(/Cloning… 43%, 12 MB of 28 MB/)).toBeTruthy();
    expect(screen.getByRole("heading", { name: "acme/widgets" })).toBeTruthy();
    expect(replace).not.toHaveBeenCalled();
    page.setSessions([aSession()]);
    await waitFor(() => expect(replace).toHaveBeenCalledWith(aSession().url));
  });

  it("goes to the address that was requested before the session ran", async () => {
    const replace = vi.spyOn(location, "replace").mockImplementation(() => {});
    const session = aSession({ state: "creating", url: null });
    const requested = `${PATH}?to=${encodeURIComponent("/L3g/session/ses_2?x=1")}`;
    const page = renderComponent(SessionScreen, [session], requested, "/session/:hash");
    page.setSessions([aSession()]);
    const origin = new URL(aSession().url as string).origin;
    await waitFor(() => expect(replace).toHaveBeenCalledWith(`${origin}/L3g/session/ses_2?x=1`));
  });

  it("says why opening the session did not start it", () => {
    const session = aSession({ state: "stopped", url: null, reason: { code: "idle", message: "m" } });
    renderComponent(SessionScreen, [session], `${PATH}?not-started=limit_reached`, "/session/:hash");
    expect(screen.getByRole("alert").textContent).toMatch(/reached a limit/);
    expect(document.activeElement).toBe(screen.getByRole("button", { name: "Resume" }));
  });

  it("shows a failure with advice and log, and can try again", async () => {
    const resume = vi.spyOn(api, "resume").mockResolvedValue({} as never);
    open(
      aSession({
        state: "failed",
        url: null,
        stages: [stage("cloning", "failed")],
        reason: { code: "authentication_failed", message: "m", advice: "a", logTail: "fatal: no" },
      }),
    );
    expect(screen.getByRole("alert").textContent).toMatch(/refused the credentials/);
    expect(screen.getByText("fatal: no")).toBeTruthy();
    await userEvent.click(screen.getByRole("button", { name: "Try again" }));
    expect(resume).toHaveBeenCalledWith("a48da0606867");
  });

  it("shows the router's message for an unknown reason", () => {
    open(
      aSession({
        state: "failed",
        url: null,
        reason: { code: "new_one", message: "The moon is full", advice: "Wait" },
      }),
    );
    expect(screen.getByRole("alert").textContent).toBe("The moon is full");
    expect(screen.getByText(/Wait/)).toBeTruthy();
  });

  it("focuses Resume if the session is stopped", () => {
    open(aSession({ state: "stopped", url: null, reason: { code: "idle", message: "m" } }));
    expect(screen.getByText(/no activity for 30 min/)).toBeTruthy();
    expect(document.activeElement).toBe(screen.getByRole("button", { name: "Resume" }));
  });

  it("fetches the list again before it says that the session does not exist", async () => {
    const page = open();
    await waitFor(() => expect(screen.getByText(/does not exist/)).toBeTruthy());
    expect(page.refresh).toHaveBeenCalledOnce();
  });

  it("does not say so while the router is unreachable", () => {
    const page = open();
    page.setConnection("unreachable");
    expect(screen.queryByText(/does not exist/)).toBeNull();
  });

  it("asks before deleting, names the unsaved work, and focuses Cancel", async () => {
    vi.spyOn(api, "work").mockResolvedValue({ known: true, uncommittedFiles: 2, unpushedCommits: 1 });
    const remove = vi.spyOn(api, "remove").mockResolvedValue(undefined);
    const page = open(aSession({ state: "stopped", url: null }));
    await userEvent.click(screen.getByRole("button", { name: "Delete" }));
    const dialog = await screen.findByRole("alertdialog", {}, { timeout: 10_000 });
    await waitFor(() =>
      expect(dialog.textContent).toMatch(/2 files have uncommitted.*1 commit is not pushed/s),
    );
    await waitFor(() => expect(document.activeElement?.textContent).toBe("Cancel"));
    const buttons = [...dialog.querySelectorAll("button")];
    await userEvent.click(buttons.find((button) => button.textContent === "Delete") as HTMLElement);
    expect(remove).toHaveBeenCalledWith("a48da0606867");
    await waitFor(() => expect(page.history.get()).toBe("/"));
  });
});
