import fs from "node:fs"

/** Notes in the home what it was given, and reports titles to the router, as the original's plugin does. */
export const report = async () => {
  const { HOME, OPENCODE_ROUTER_URL: router, OPENCODE_SESSION_HASH: hash, OPENCODE_POD_SECRET: secret } = process.env
  fs.appendFileSync(`${HOME}/plugin.log`, `loaded for ${hash}\n`)
  return {
    event: async ({ event }: { event: any }) => {
      if (event.type !== "session.updated" || !router || !hash || !secret) return
      const { id, title } = event.properties.info
      await fetch(`${router}/api/sessions/${hash}/progress`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-pod-secret": secret },
        body: JSON.stringify({ type: "session.title", sessionID: id, title }),
      }).catch(() => {})
    },
  }
}
