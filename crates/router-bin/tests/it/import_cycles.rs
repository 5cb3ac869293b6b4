//! The imports between the files of a crate: none may lead back to where it started. So no file imports from
//! the module above itself, whose file lists it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The path of a module from the crate's root; empty for the root.
type Module = Vec<String>;

/// The tokens of each file that is not a test.
type Files = BTreeMap<Module, Vec<String>>;

fn files_of(src: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![(src.to_path_buf(), Module::new())];
    while let Some((folder, module)) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("text").to_owned();
            let is_root =
                module.is_empty() && (name == "lib" || name == "main" && !src.join("lib.rs").exists());
            let inner =
                if name == "mod" || is_root { module.clone() } else { [&module[..], &[name]].concat() };
            if path.is_dir() {
                folders.push((path, inner));
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&inner) {
                files.insert(inner, tokens(&fs::read_to_string(&path).expect("a source")));
            }
        }
    }
    files
}

fn is_test(module: &Module) -> bool {
    module.iter().any(|name| name == "tests" || name.ends_with("_tests"))
}

/// Splits a source into names, `::` and single characters, without comments, literals and the tests at its
/// end.
fn tokens(source: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(hashes) = raw_string(rest) {
            let end = format!("\"{hashes}");
            let start = 2 + hashes.len();
            start + rest[start..].find(&end).map_or(0, |at| at + end.len())
        } else if first == '"' {
            1 + end_of_literal(&rest[1..], '"')
        } else if first == '\'' && (rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'')) {
            1 + end_of_literal(&rest[1..], '\'')
        } else if first.is_alphanumeric() || first == '_' {
            rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let token = &rest[..length];
        if !token.starts_with(['"', '\'', ' ', '\n'])
            && !token.starts_with("//")
            && raw_string(token).is_none()
        {
            tokens.push(token.to_owned());
        }
        rest = &rest[length..];
    }
    tokens
}

/// Returns the `#`s of a raw string that starts here.
fn raw_string(text: &str) -> Option<&str> {
    let hashes = text.strip_prefix('r')?;
    let count = hashes.bytes().take_while(|byte| *byte == b'#').count();
    hashes[count..].starts_with('"').then(|| &hashes[..count])
}

fn end_of_literal(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        if char == quote && !escaped {
            return at + 1;
        }
        escaped = char == '\\' && !escaped;
    }
    text.len()
}

/// Returns the paths that a file names, in `use` and elsewhere, as seen from the file's own module.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    // The depths of braces at which inline modules begin.
    let (mut depth, mut inline) = (0, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let before = paths.len();
        match tokens[at].as_str() {
            // Not `impl Trait + use<>`.
            "use" if tokens.get(at + 1).is_some_and(|next| next != "<") => {
                at += 1;
                use_tree(tokens, &mut at, &[], &mut paths);
            }
            "mod" if tokens.get(at + 2).is_some_and(|next| next == "{") => {
                inline.push(depth);
                at += 2;
            }
            "{" => (depth, at) = (depth + 1, at + 1),
            "}" => {
                (depth, at) = (depth - 1, at + 1);
                inline.pop_if(|start| *start == depth);
            }
            _ if tokens.get(at + 1).is_some_and(|next| next == "::") => {
                let names = tokens[at..].chunks(2).take_while(|pair| pair.len() == 2 && pair[1] == "::");
                let path: Vec<String> = names.map(|pair| pair[0].clone()).collect();
                at += 2 * path.len();
                let last = tokens.get(at).cloned();
                paths.push(path.into_iter().chain(last).collect());
            }
            _ => at += 1,
        }
        for path in &mut paths[before..] {
            let supers = path.iter().take_while(|name| *name == "super").count().min(inline.len());
            if supers > 0 {
                path.splice(..supers, ["self".to_owned()]);
            }
        }
    }
    paths
}

fn use_tree(tokens: &[String], at: &mut usize, prefix: &[String], paths: &mut Vec<Vec<String>>) {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        match token.as_str() {
            "::" => {}
            "{" => {
                while tokens.get(*at).is_some_and(|token| token != "}" && token != ";") {
                    use_tree(tokens, at, &path, paths);
                    *at += usize::from(tokens.get(*at).is_some_and(|token| token == ","));
                }
                *at += 1;
                return;
            }
            "as" => *at += 1,
            "," | "}" | ";" => {
                *at -= 1;
                break;
            }
            name => path.push(name.to_owned()),
        }
    }
    paths.push(path);
}

/// Returns the file that a path leads to from a module.
fn resolve(files: &Files, from: &Module, path: &[String]) -> Option<Module> {
    let mut module = from.clone();
    let mut names = path;
    match path.first()?.as_str() {
        "crate" => (module, names) = (Module::new(), &path[1..]),
        "self" => names = &path[1..],
        "super" => {}
        name => drop(files.get(&[&from[..], &[name.to_owned()]].concat())?),
    }
    while names.first().is_some_and(|name| name == "super") {
        module.pop();
        names = &names[1..];
    }
    for name in names {
        let inner = [&module[..], std::slice::from_ref(name)].concat();
        if !files.contains_key(&inner) {
            break;
        }
        module = inner;
    }
    (files.contains_key(&module) && module != *from).then_some(module)
}

/// Returns a cycle of imports, if there is one.
fn cycle(files: &Files) -> Option<Vec<Module>> {
    fn visit(
        module: &Module,
        imports: &BTreeMap<&Module, BTreeSet<Module>>,
        trail: &mut Vec<Module>,
        finished: &mut BTreeSet<Module>,
    ) -> bool {
        if let Some(start) = trail.iter().position(|earlier| earlier == module) {
            trail.drain(..start);
            return true;
        }
        trail.push(module.clone());
        let mut inner =
            imports[module].iter().filter(|inner| !finished.contains(*inner)).cloned().collect::<Vec<_>>();
        inner.retain(|inner| imports.contains_key(inner));
        if inner.iter().any(|inner| visit(inner, imports, trail, finished)) {
            return true;
        }
        trail.pop();
        finished.insert(module.clone());
        false
    }
    let imports: BTreeMap<&Module, BTreeSet<Module>> = files
        .iter()
        .map(|(from, tokens)| {
            (from, paths(tokens).iter().filter_map(|path| resolve(files, from, path)).collect())
        })
        .collect();
    let mut trail = Vec::new();
    let mut finished = BTreeSet::new();
    files.keys().any(|module| visit(module, &imports, &mut trail, &mut finished)).then_some(trail)
}

#[test]
fn no_file_imports_from_a_file_that_imports_from_it() {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut count = 0;
    for entry in fs::read_dir(crates).expect("the crates") {
        let path = entry.expect("an entry").path();
        let src = path.join("src");
        if src.exists() {
            let files = files_of(&src);
            count += files.len();
            let cycle = cycle(&files).unwrap_or_default();
            let names: Vec<String> = cycle.iter().map(|module| module.join("::")).collect();
            assert!(names.is_empty(), "{} has a cycle of imports: {names:?}", path.display());
        }
    }
    assert!(count > 100, "only {count} files were read");
}

#[test]
fn a_cycle_of_imports_is_found_in_uses_and_in_paths() {
    let check = |sources: &[(&str, &str)], expected: bool| {
        let module =
            |path: &str| path.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let files: Files = sources.iter().map(|(path, source)| (module(path), tokens(source))).collect();
        assert_eq!(cycle(&files).is_some(), expected, "{sources:?}");
    };
    check(&[("", "mod a; mod b;"), ("a", "use crate::b::{self, B};"), ("b", "struct B;")], false);
    check(&[("a", "use crate::{b::B as C};"), ("b", "fn b() { crate::a::a() }")], true);
    check(&[("a", "use b::B;"), ("a/b", "use super::A;")], true);
    check(
        &[
            ("a", "use b::B;"),
            ("a/b", "// use super::A;\nconst C: &str = \"super::A\"; const D: char = '\"';"),
        ],
        false,
    );
    check(
        &[
            ("a", "use b::B;"),
            ("a/b", "use super::c::C;"),
            ("a/c", "use super::{d::D, d::e::E};"),
            ("a/d", ""),
            ("a/d/e", "use super::super::b;"),
        ],
        true,
    );
    check(&[("", "pub use a::A;"), ("a", "use crate::A;")], true);
    check(&[("", "fn f() -> impl B + use<> { g(|a| a, 0); }"), ("a", "use crate::f;")], false);
    check(&[("", "pub use a::A;"), ("a", "mod b { use super::A; } struct A;")], false);
    check(&[("", "pub use a::A;"), ("a", "mod b { use super::super::A; }")], true);
}
