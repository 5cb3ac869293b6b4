//! Comments and pages end at the formatter's width: rustfmt wraps code, and this wraps the rest.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders with build outputs and installed packages.
const SKIPPED: [&str; 6] = ["target", "node_modules", "dist", "out", ".git", "coverage"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the width that rustfmt.toml sets.
fn max_width() -> usize {
    let settings = fs::read_to_string(root().join("rustfmt.toml")).expect("rustfmt.toml");
    let width = settings.lines().find_map(|line| line.strip_prefix("max_width = ")).expect("a width");
    width.parse().expect("a number")
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if entry.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                collect_files(&entry, files);
            }
        } else if marker(&entry).is_some() {
            files.push(entry);
        }
    }
}

/// Returns what a line of prose begins with in this file; `""` in a page.
fn marker(file: &Path) -> Option<&'static str> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("md") => Some(""),
        Some("rs" | "ts" | "tsx" | "mjs") => Some("//"),
        Some("sh" | "yaml" | "toml") => Some("#"),
        // Scripts have no extension.
        None if fs::read_to_string(file).is_ok_and(|text| text.starts_with("#!")) => Some("#"),
        None if file.ends_with("Makefile") || file.ends_with("Dockerfile") => Some("#"),
        _ => None,
    }
}

/// Returns the numbers of the lines of prose that are too wide. Tables, code blocks and images can't be
/// wrapped.
fn too_wide(text: &str, marker: &str, width: usize) -> Vec<usize> {
    let mut in_code = false;
    let mut numbers = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(prose) = line.trim_start().strip_prefix(marker) else { continue };
        let prose = prose.trim_start_matches(['/', '!']).trim_start();
        in_code ^= prose.contains("```");
        let is_wrapped =
            prose.split(' ').count() > 1 && !prose.starts_with(['|', '!']) && !line.starts_with('!');
        if !in_code && is_wrapped && line.chars().count() > width {
            numbers.push(index + 1);
        }
    }
    numbers
}

#[test]
fn lines_of_prose_end_at_the_formatters_width() {
    let mut files = Vec::new();
    for folder in ["crates", "deploy", "docs", "scripts", "tests", "web", ".ci"] {
        collect_files(&root().join(folder), &mut files);
    }
    files.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile"].map(|name| root().join(name)));
    assert!(files.len() > 200, "only {} files were found", files.len());
    let width = max_width();
    let mut found = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("a text");
        for number in too_wide(&text, marker(file).unwrap_or_default(), width) {
            found.push(format!("{}:{number}", file.strip_prefix(root()).unwrap_or(file).display()));
        }
    }
    assert!(found.is_empty(), "lines are wider than {width} columns:\n{}", found.join("\n"));
}

#[test]
fn only_prose_is_wrapped() {
    let wide = "word ".repeat(30);
    assert_eq!(too_wide(&wide, "", 110), [1]);
    assert_eq!(too_wide(&format!("/// {wide}"), "//", 110), [1]);
    assert_eq!(too_wide(&format!("let text = {wide:?};"), "//", 110), [0; 0]);
    assert_eq!(too_wide(&format!("| {wide} |"), "", 110), [0; 0]);
    assert_eq!(too_wide(&format!("```sh\n{wide}\n```\n{wide}"), "", 110), [4]);
    assert_eq!(too_wide(&"x".repeat(200), "", 110), [0; 0], "a word can't be wrapped");
}
