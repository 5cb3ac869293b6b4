//! Which file of a crate may import which: no cycles, and no import from above.
//!
//! A file imports another one where a `use` or a path in its code leads into that file's module; a re-export
//! counts, a `mod` line does not. Test code is exempt.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::visit::{self, Visit};

/// The crates of this workspace.
const OUR_CRATES: [&str; 7] =
    ["session-key", "proxy-core", "pod-manager", "api", "cli", "cloudflare-operator", "router-bin"];

type ModulePath = Vec<String>;

/// The files of one crate and their imports.
struct ImportGraph {
    files: BTreeMap<ModulePath, PathBuf>,
    edges: BTreeMap<ModulePath, BTreeSet<ModulePath>>,
}

impl ImportGraph {
    fn of_crate(name: &str) -> Self {
        let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        let mut files = BTreeMap::new();
        collect_files(&source, &source, &mut files);
        let mut graph = Self { files, edges: BTreeMap::new() };
        for (module, file) in graph.files.clone() {
            let text = fs::read_to_string(source.join(&file)).expect("a source file");
            let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            let mut paths = Paths::default();
            paths.visit_file(&syntax);
            let targets = paths.paths.iter().filter_map(|path| graph.resolve(&module, path));
            let targets = targets.filter(|target| *target != module).collect();
            graph.edges.insert(module, targets);
        }
        graph
    }

    /// Returns the file that a path leads into, if it is one of this crate's.
    fn resolve(&self, from: &[String], path: &[String]) -> Option<ModulePath> {
        let mut module = from.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => {
                module.clear();
                rest = &rest[1..];
            }
            "super" | "self" => {
                while let Some("super" | "self") = rest.first().map(String::as_str) {
                    if rest[0] == "super" {
                        module.pop();
                    }
                    rest = &rest[1..];
                }
            }
            first => {
                module.push(first.to_owned());
                if !self.files.contains_key(&module) {
                    return None;
                }
                rest = &rest[1..];
            }
        }
        for segment in rest {
            module.push(segment.clone());
            if !self.files.contains_key(&module) {
                module.pop();
                break;
            }
        }
        Some(module)
    }

    /// Returns all files that a file depends on, directly or not.
    fn reachable(&self, from: &ModulePath) -> BTreeSet<ModulePath> {
        let mut reached = BTreeSet::new();
        let mut pending = vec![from.clone()];
        while let Some(module) = pending.pop() {
            for target in self.edges.get(&module).into_iter().flatten() {
                if reached.insert(target.clone()) {
                    pending.push(target.clone());
                }
            }
        }
        reached
    }

    /// Returns each file that depends on itself, with the files that it imports on the way.
    fn cycles(&self) -> Vec<String> {
        let on_cycle = self.files.keys().filter(|module| self.reachable(module).contains(*module));
        on_cycle
            .map(|module| {
                let targets = self.edges[module].iter();
                let targets = targets.filter(|target| self.reachable(target).contains(module));
                let names: Vec<_> = targets.map(|target| self.name(target)).collect();
                format!("{} imports {}", self.name(module), names.join(", "))
            })
            .collect()
    }

    /// Asserts that no file below `importer` imports a file below `never`, other than `except`.
    #[track_caller]
    fn assert_never(&self, importer: &str, never: &[&str], except: &[&str]) {
        let below = |module: &ModulePath, prefix: &str| {
            module.iter().take(prefix.split('/').count()).eq(prefix.split('/'))
        };
        assert!(self.files.keys().any(|module| below(module, importer)), "there is no {importer}");
        for (module, targets) in self.edges.iter().filter(|(module, _)| below(module, importer)) {
            for target in targets {
                let is_refused = never.iter().any(|prefix| below(target, prefix));
                let is_excepted = except.iter().any(|prefix| below(target, prefix));
                assert!(!is_refused || is_excepted, "{} imports {}", self.name(module), self.name(target));
            }
        }
    }

    fn name(&self, module: &ModulePath) -> String {
        self.files[module].display().to_string()
    }
}

fn collect_files(source: &Path, folder: &Path, files: &mut BTreeMap<ModulePath, PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            collect_files(source, &entry, files);
            continue;
        }
        let relative = entry.strip_prefix(source).expect("a file below the source folder").to_owned();
        let mut module: ModulePath =
            relative.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let last = module.last().map(String::as_str).unwrap_or_default();
        if entry.extension().is_none_or(|extension| extension != "rs") || last.ends_with("tests") {
            continue;
        }
        let is_root =
            module.len() == 1 && (last == "lib" || last == "main" && !source.join("lib.rs").exists());
        if last == "mod" || is_root {
            module.pop();
        }
        files.insert(module, relative);
    }
}

/// Collects the paths that a file's code names, other than in its tests.
#[derive(Default)]
struct Paths {
    paths: Vec<Vec<String>>,
}

impl Paths {
    fn add_use(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let with = |ident: &syn::Ident| [prefix, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_use(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) if name.ident == "self" => self.paths.push(prefix.to_vec()),
            syn::UseTree::Name(name) => self.paths.push(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.paths.push(with(&rename.ident)),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(tree, prefix)),
            _ => self.paths.push(prefix.to_vec()),
        }
    }
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test_only(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test_only(&item.attrs) {
            self.add_use(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_none() && segments.len() > 1 {
            self.paths.push(segments);
        }
        visit::visit_path(self, path);
    }
}

#[test]
fn the_files_of_a_crate_import_each_other_in_one_direction() {
    for name in OUR_CRATES {
        let cycles = ImportGraph::of_crate(name).cycles();
        assert!(cycles.is_empty(), "files of {name} are on an import cycle:\n{}", cycles.join("\n"));
    }
}

#[test]
fn the_rooms_of_the_pod_manager_never_import_from_above() {
    let graph = ImportGraph::of_crate("pod-manager");
    let backends = ["kubernetes", "local", "memory"];
    for backend in backends {
        let others: Vec<_> = backends.into_iter().filter(|other| *other != backend).collect();
        graph.assert_never(backend, &others, &[]);
        // Whoever acts for all replicas is elected by the backend that they share.
        graph.assert_never(backend, &["manager"], &["manager/leadership"]);
    }
    graph.assert_never("manager", &backends, &[]);
    for shared in ["opencode", "git_output", "publisher", "persisted", "keyed_mutex", "backoff"] {
        graph.assert_never(shared, &backends, &[]);
        graph.assert_never(shared, &["manager", "contract"], &[]);
    }
    for model in ["model", "clock"] {
        graph.assert_never(model, &["backend", "manager", "opencode", "persisted", "publisher"], &[]);
    }
    let acting = ["kubernetes/controller", "kubernetes/commands", "kubernetes/prober", "kubernetes/logs"];
    for pure in ["kubernetes/reconcile", "kubernetes/status", "kubernetes/objects", "kubernetes/session"] {
        graph.assert_never(pure, &acting, &[]);
        graph.assert_never(pure, &["kubernetes/api", "kubernetes/store", "kubernetes/context"], &[]);
    }
    graph.assert_never("kubernetes/store", &acting, &[]);
}

#[test]
fn the_layers_of_the_proxy_never_import_the_listener() {
    let graph = ImportGraph::of_crate("proxy-core");
    for layer in
        ["body", "identity", "identify", "same_origin", "resolve", "activity", "host_router", "refusal"]
    {
        graph.assert_never(layer, &["serve", "forward"], &[]);
    }
    graph.assert_never("serve", &["forward"], &[]);
}
