import { report } from "./plugin"

export default { id: "opencode-router", server: report }
