import { fireEvent, screen, waitFor } from "@solidjs/testing-library";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { ApiError, api } from "../api/client";
import { aSession, renderComponent } from "../test-page";
import { Composer } from "./Composer";

const repo = () => screen.getByLabelText("Repository");
const branch = () => screen.getByLabelText<HTMLInputElement>("Branch");

describe("the composer", () => {
  beforeEach(() => {
    vi.spyOn(api, "suggestBranch").mockResolvedValue({ branch: "calm-snails-dream" });
    vi.spyOn(api, "create").mockResolvedValue({ hash: "a48da0606867", url: null, state: "creating" });
  });

  it("starts a session on Enter and goes to its page", async () => {
    const page = renderComponent(Composer);
    await userEvent.type(repo(), "acme/widgets{Enter}");
    await waitFor(() =>
      expect(api.create).toHaveBeenCalledWith(
        expect.objectContaining({ repoUrl: "https://github.com/acme/widgets" }),
      ),
    );
    await waitFor(() => expect(page.history.get()).toBe("/session/a48da0606867"));
  });

  it("shows an invalid address before anything is sent", async () => {
    renderComponent(Composer);
    await userEvent.type(repo(), "https://me:secret@h/r{Enter}");
    expect(screen.getByRole("alert").textContent).toMatch(/Remove the user name and password/);
    expect(repo().getAttribute("aria-invalid")).toBe("true");
    expect(api.create).not.toHaveBeenCalled();
  });

  it("suggests a free branch name until the user types one", async () => {
    renderComponent(Composer);
    await userEvent.type(repo(), "acme/widgets");
    await waitFor(() => expect(branch().value).toBe("calm-snails-dream"));
    await userEvent.clear(branch());
    await userEvent.type(branch(), "fix/mine");
    await userEvent.type(repo(), "2");
    await new Promise((done) => setTimeout(done, 300));
    expect(branch().value).toBe("fix/mine");
  });

  it("refuses a branch name that git would refuse", async () => {
    renderComponent(Composer);
    await userEvent.type(repo(), "acme/widgets");
    await userEvent.type(branch(), "a..b{Enter}");
    expect(screen.getByRole("alert").textContent).toMatch(/not a valid branch name/);
    expect(api.create).not.toHaveBeenCalled();
  });

  it("sends the message on Enter, and breaks the line on Shift+Enter", async () => {
    renderComponent(Composer);
    await userEvent.type(repo(), "acme/widgets");
    await userEvent.type(screen.getByLabelText(/First message/), "one{Shift>}{Enter}{/Shift}two{Enter}");
    await waitFor(() =>
      expect(api.create).toHaveBeenCalledWith(expect.objectContaining({ initialMessage: "one\ntwo" })),
    );
  });

  it("starts without a repository", async () => {
    renderComponent(Composer);
    await userEvent.click(screen.getByRole("button", { name: "Start without a repository" }));
    await waitFor(() => expect(api.create).toHaveBeenCalledWith({}));
  });

  it("shows the router's refusal and can be sent again", async () => {
    vi.mocked(api.create).mockRejectedValue(new ApiError(429, "limit_reached", "you may keep 3 sessions"));
    renderComponent(Composer);
    await userEvent.type(repo(), "acme/widgets{Enter}");
    expect((await screen.findByRole("alert")).textContent).toBe("You may keep 3 sessions");
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Start" }).disabled).toBe(false);
  });

  it("offers the repositories of the user's sessions", () => {
    const page = renderComponent(Composer, [aSession(), aSession({ hash: "b48da0606867" })]);
    const options = [...page.container.querySelectorAll("datalist option")];
    expect(options.map((option) => option.getAttribute("value"))).toEqual([
      "https://github.com/acme/widgets.git",
    ]);
    fireEvent.blur(repo());
    expect(screen.queryByRole("alert")).toBeNull();
  });
});
