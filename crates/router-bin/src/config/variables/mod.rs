//! The table of all variables. `--help`, `--check-config`, the refusal of unknown names and
//! docs/configuration.md are made from it.

mod kubernetes;
mod local;
mod router;

pub use super::variable::{DefaultValue, Scope, Variable};

/// All variables: those of both backends, then those of one. Each part is grouped by what its variables do.
pub const VARIABLES: &[Variable] = &{
    // A loop, because a constant cannot call `concat`.
    let groups = [router::VARIABLES, local::VARIABLES, kubernetes::VARIABLES];
    let mut all = [router::VARIABLES[0]; COUNT];
    let (mut index, mut group, mut row) = (0, 0, 0);
    while index < COUNT {
        if row == groups[group].len() {
            (group, row) = (group + 1, 0);
        }
        all[index] = groups[group][row];
        (index, row) = (index + 1, row + 1);
    }
    all
};

const COUNT: usize = router::VARIABLES.len() + local::VARIABLES.len() + kubernetes::VARIABLES.len();

/// Returns the variable of that name, in either case.
#[must_use]
pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name.eq_ignore_ascii_case(name))
}

/// Returns the known name that is closest to `name`, if one is close.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    VARIABLES
        .iter()
        .map(|variable| {
            // `IDLE_TIMEOUT` differs from `IDLE_TIMEOUT_MINUTES` in many characters, but is clearly meant for
            // it.
            let is_prefix = name.len() >= 4 && variable.name.starts_with(&name);
            (if is_prefix { 1 } else { strsim::osa_distance(&name, variable.name) }, variable.name)
        })
        .min()
        .filter(|&(distance, known)| distance <= 1 + known.len() / 4)
        .map(|(_, known)| known)
}
