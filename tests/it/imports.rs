//! Who imports whom inside the science and the demo's trainer: the table of ARCHITECTURE.md, and no circles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use crate::tidy::{code_of_src, root, table};

/// A module as its segments below the crate: `["probe", "chips", "cache"]`.
type Module = Vec<String>;

/// The module that a file below `src` holds.
fn module_of(path: &std::path::Path) -> Module {
    let mut segments: Module = path.with_extension("").iter().map(|s| s.to_string_lossy().into_owned()).collect();
    if segments.last().is_some_and(|last| last == "mod") {
        segments.pop();
    }
    segments
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// All paths that the code of `module` starts with `crate::` or `super::`, groups in braces included.
fn paths_named(code: &str, module: &Module) -> BTreeSet<Module> {
    let (mut found, mut at) = (BTreeSet::new(), 0);
    while let Some(next) = ["crate::", "super::"].iter().filter_map(|start| code[at..].find(start)).min() {
        at += next;
        let goes_on = code[..at].ends_with(|c: char| is_word(c) || c == ':');
        let rest = if goes_on { &code[at + "crate::".len()..] } else { expand(&code[at..], module, None, &mut found) };
        at = code.len() - rest.len();
    }
    found
}

/// Reads one path or group; returns what follows it.
fn expand<'a>(text: &'a str, module: &Module, base: Option<Module>, found: &mut BTreeSet<Module>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            if rest.is_empty() {
                return rest;
            }
            let after = expand(rest, module, base.clone(), found);
            rest =
                if after.len() < rest.len() { after } else { &rest[rest.chars().next().map_or(1, char::len_utf8)..] };
        }
    }
    let word: String = text.chars().take_while(|c| is_word(*c)).collect();
    let rest = &text[word.len()..];
    let base = match (word.as_str(), base) {
        ("crate", _) => Vec::new(),
        ("super", None) => module[..module.len().saturating_sub(1)].to_vec(),
        ("super", Some(base)) => base[..base.len().saturating_sub(1)].to_vec(),
        ("self", Some(base)) => base,
        (word, base) => base.unwrap_or_default().into_iter().chain([word.to_owned()]).collect(),
    };
    match rest.strip_prefix("::") {
        Some(rest) => expand(rest, module, Some(base), found),
        None => {
            found.insert(base);
            rest.split_once(" as ")
                .filter(|(before, _)| before.trim().is_empty())
                .map_or(rest, |(_, after)| after.trim_start_matches(is_word))
        }
    }
}

/// For each module the modules that it names, its own ancestors and descendants aside: a folder's `mod.rs` lists what
/// is in it, and what is in it may use what it defines.
fn imports(below: &[&str]) -> BTreeMap<Module, BTreeSet<Module>> {
    let files: Vec<(Module, String)> = code_of_src()
        .into_iter()
        .map(|(path, code)| (module_of(&path), code))
        .filter(|(module, _)| below.iter().any(|start| module.join("/").starts_with(start)))
        .collect();
    let known: BTreeSet<Module> = files.iter().map(|(module, _)| module.clone()).collect();
    let file_of = |path: &Module| (1..=path.len()).rev().map(|n| path[..n].to_vec()).find(|path| known.contains(path));
    let related = |a: &Module, b: &Module| a.starts_with(b) || b.starts_with(a);
    let of = |(module, code): (Module, String)| {
        let named = paths_named(&code, &module).iter().filter_map(file_of).filter(|to| !related(&module, to)).collect();
        (module, named)
    };
    files.into_iter().map(of).collect()
}

#[test]
fn paths_in_groups_and_chains_are_understood() {
    let code = "use super::{\n super::{head::Head, score},\n cache::{self, Entry},\n};\nuse crate::domain::{Band, Digest};\n\
                fn f(x: super::ChipError) { crate::probe::seed::draw() }";
    let module = ["probe", "chips", "dataset"].map(str::to_owned).to_vec();
    let named: Vec<String> = paths_named(code, &module).iter().map(|path| path.join("::")).collect();
    let want = [
        "domain::Band",
        "domain::Digest",
        "probe::chips::ChipError",
        "probe::chips::cache",
        "probe::chips::cache::Entry",
        "probe::head::Head",
        "probe::score",
        "probe::seed::draw",
    ];
    assert_eq!(named, want);
}

#[test]
fn rooms_inside_the_science_use_only_what_they_may() {
    let allowed = table("## Rooms inside `probe`");
    let room = |module: &Module| module.get(1).cloned();
    let (mut wrong, mut rooms) = (Vec::new(), BTreeSet::new());
    for (module, named) in imports(&["probe"]) {
        let Some(own) = room(&module) else { continue }; // `probe` itself lists them
        let may_use = allowed.get(&own).unwrap_or_else(|| panic!("`{own}` has no row in ARCHITECTURE.md"));
        for used in named.iter().filter_map(room).filter(|used| *used != own && !may_use.contains(used)) {
            wrong.push(format!("{} uses `{used}`", module.join("::")));
        }
        rooms.insert(own);
    }
    assert!(wrong.is_empty(), "not in the table of ARCHITECTURE.md:\n{}", wrong.join("\n"));
    assert_eq!(allowed.into_keys().collect::<BTreeSet<_>>(), rooms, "the table of ARCHITECTURE.md");
}

#[test]
fn no_two_files_of_the_science_need_each_other() {
    let imports = imports(&["probe", "demo"]);
    let reachable = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = next.pop() {
            for to in imports.get(&module).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let circles: Vec<String> =
        imports.keys().filter(|module| reachable(module).contains(*module)).map(|module| module.join("::")).collect();
    assert!(circles.is_empty(), "in a circle of imports: {circles:?}");
    let lines = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(lines.contains("## Rooms inside `probe`"));
}
