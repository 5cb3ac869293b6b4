//! The variables of `BACKEND=local`.

use crate::config::variable::{DefaultValue::Derived, Scope::Local, Variable};

pub(super) const VARIABLES: &[Variable] = &[
    Local.variable(
        "STATE_DIR",
        Derived("`$XDG_DATA_HOME/opencode-router`, else `~/.local/share/opencode-router`"),
        "absolute path of a folder",
        "The folder of the sessions: repositories, opencode's data, logs. Only one router at a time may use \
         it.",
    ),
    Local.variable(
        "OPENCODE_BIN",
        Derived("`opencode` on the PATH"),
        "path of a program",
        "The opencode program. `make run` installs one and sets this.",
    ),
];
