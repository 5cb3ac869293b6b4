//! The processes that sockets belong to, from `/proc/<pid>`.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::Path,
};

/// The longest name, in characters.
const MAX_NAME: usize = 40;

/// Returns the processes that have these sockets open, by inode. A child may have inherited its parent's
/// socket; the older process comes first, as long as process ids grow. Processes of other users can't be
/// read, and are missing.
#[must_use]
pub fn socket_owners(inodes: &HashSet<u64>) -> HashMap<u64, Vec<u32>> {
    let mut owners: HashMap<u64, Vec<u32>> = HashMap::new();
    let Ok(entries) = fs::read_dir("/proc") else { return owners };
    let mut pids: Vec<u32> =
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    for pid in pids {
        for inode in socket_inodes(pid).intersection(inodes) {
            owners.entry(*inode).or_default().push(pid);
        }
    }
    owners
}

/// Returns the inodes of the sockets that a process has open.
#[must_use]
pub fn socket_inodes(pid: u32) -> HashSet<u64> {
    let inode = |entry: io::Result<fs::DirEntry>| {
        let target = fs::read_link(entry.ok()?.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    fs::read_dir(format!("/proc/{pid}/fd"))
        .map_or_else(|_| HashSet::new(), |fds| fds.filter_map(inode).collect())
}

/// Returns a process's name for people: `vite`, not `node`.
#[must_use]
pub fn process_name(pid: u32) -> Option<String> {
    let command_line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command_line = String::from_utf8_lossy(&command_line).into_owned();
    name_of(command_line.split('\0'))
}

/// Returns the program's name; of an interpreter, its script's or module's.
fn name_of<'a>(mut arguments: impl Iterator<Item = &'a str>) -> Option<String> {
    let program = file_name(arguments.next()?)?;
    let interpreters = ["node", "bun", "deno", "python", "ruby", "perl", "php"];
    let is_interpreter = interpreters.iter().any(|name| {
        program
            .strip_prefix(name)
            .is_some_and(|version| version.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    });
    let script = is_interpreter.then(|| match arguments.next()? {
        "-m" => arguments.next(),
        option if option.starts_with('-') => None,
        script => file_name(script),
    });
    let name = script.flatten().unwrap_or(program);
    let name = [".js", ".mjs", ".cjs", ".ts", ".py", ".rb"]
        .iter()
        .find_map(|extension| name.strip_suffix(extension))
        .unwrap_or(name);
    let name: String = name.chars().filter(|char| !char.is_control()).take(MAX_NAME).collect();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Some programs write a title into their command line: `nginx: master process …`.
fn file_name(argument: &str) -> Option<&str> {
    let first = argument.trim().split([' ', ':']).next()?;
    Path::new(first).file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_that_of_the_program_or_of_its_script() {
        let name = |arguments: &[&str]| name_of(arguments.iter().copied());
        let check =
            |arguments: &[&str], expected: &str| assert_eq!(name(arguments).as_deref(), Some(expected));
        check(&["node", "/app/node_modules/.bin/vite", "--host"], "vite");
        check(&["/usr/bin/node", "server.mjs"], "server");
        check(&["/usr/bin/python3.13", "-m", "http.server"], "http.server");
        check(&["python3", "manage.py", "runserver"], "manage");
        check(&["node", "--inspect", "x.js"], "node");
        check(&["node", "-"], "node");
        check(&["/usr/sbin/nginx"], "nginx");
        check(&["nginx: master process /usr/sbin/nginx"], "nginx");
        check(&["next-server (v15.1.0)"], "next-server");
        check(&["./target/debug/app", "-x"], "app");
        check(&[&"x".repeat(200)], &"x".repeat(MAX_NAME));
        assert_eq!(name(&[""]), None);
        assert_eq!(name(&["\u{1b}"]), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_a_name() {
        assert!(process_name(std::process::id()).is_some());
        assert_eq!(process_name(u32::MAX), None);
    }
}
