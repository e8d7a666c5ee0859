//! House rules that a compiler does not know; std only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The longest a source file may be.
const MOST_LINES: usize = 450;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `folder` that end in `ending`, sorted.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let paths = [root().join("src"), root().join("tests")].iter().flat_map(|dir| files(dir, ".rs")).collect::<Vec<_>>();
    assert!(paths.len() > 50, "only {} sources were found", paths.len());
    paths
        .into_iter()
        .map(|path| (path.strip_prefix(root()).unwrap().to_owned(), fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(p, _)| p).collect();
    assert!(silent.is_empty(), "no `//!` line at the top of {silent:?}");
    let unfinished: Vec<_> =
        sources().into_iter().filter(|(_, text)| text.starts_with("//! (to come)")).map(|(p, _)| p).collect();
    assert!(unfinished.is_empty(), "still to be written: {unfinished:?}");
}

#[test]
fn no_file_is_too_long() {
    let mut lengths: Vec<(usize, PathBuf)> =
        sources().into_iter().map(|(path, text)| (text.lines().count(), path)).collect();
    lengths.sort();
    let (longest, path) = lengths.last().unwrap();
    println!("median {} lines, longest {longest} ({})", lengths[lengths.len() / 2].0, path.display());
    assert!(*longest <= MOST_LINES, "{} has {longest} lines, more than {MOST_LINES}", path.display());
}

/// Rooms named after `crate::` in a source, `use crate::{a, b::{c}}` included.
fn rooms_used(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let code: String =
        text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest));
            continue;
        };
        let (mut depth, mut expect) = (1, true);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => expect = true,
                c if c.is_alphanumeric() && depth == 1 && expect => {
                    found.insert(word(&group[i..]));
                    expect = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn groups_of_imports_are_understood() {
    let text = "use crate::{\n    config::{self, Config},\n    domain::Epoch, // crate::nothing\n    store,\n};\nfn f() { crate::api::x() }";
    let rooms: Vec<String> = rooms_used(text).into_iter().collect();
    assert_eq!(rooms, ["api", "config", "domain", "store"]);
}

/// The table "Who may use whom" of ARCHITECTURE.md: room, then the rooms it may use.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section =
        text.split("## Who may use whom").nth(1).expect("the section is there").split("\n## ").next().unwrap();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `")).flat_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let may_use = names(cells[1]);
        names(cells[0]).into_iter().map(move |room| (room, may_use.clone())).collect::<Vec<_>>()
    });
    rows.collect()
}

#[test]
fn rooms_use_only_what_they_may() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Ok(inside) = path.strip_prefix("src") else { continue };
        let room = inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        if room == "lib" || room == "main" {
            continue;
        }
        let may_use = allowed.get(&room).unwrap_or_else(|| panic!("`{room}` has no row in ARCHITECTURE.md"));
        for used in rooms_used(&text) {
            if used != room && !may_use.contains(&used) {
                wrong.push(format!("{} uses `{used}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "not in the table of ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn science_and_service_keep_apart() {
    // Crates that a room must not name, whatever its imports from our own rooms are.
    let rules: [(&str, &[&str]); 4] = [
        ("src/probe", &["tokio::", "sqlx::", "axum::", "ureq::"]),
        ("src/domain", &["tokio::", "sqlx::", "axum::", "std::fs", "std::net"]),
        ("src/api", &["candle_core", "candle_nn", "sqlx::query"]),
        ("src/intake", &["candle_core", "sqlx::query", "File::open("]),
    ];
    for (path, text) in sources() {
        for (room, forbidden) in rules.iter().filter(|(room, _)| path.starts_with(room)) {
            let code = text.split("#[cfg(test)]").next().unwrap();
            for word in *forbidden {
                assert!(!code.contains(word), "{} names `{word}`, which `{room}` must not", path.display());
            }
        }
    }
}

#[test]
fn every_setting_is_explained() {
    let text = fs::read_to_string(root().join("config/default.toml")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        if line.contains('=') && !line.starts_with('#') {
            assert!(lines[i - 1].starts_with("# "), "no comment above `{line}` in config/default.toml");
        }
    }
}

#[test]
fn every_shipped_configuration_loads() {
    for path in files(&root().join("config"), ".toml") {
        clay_probe::config::Config::load(Some(&path), &[]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }
}

#[test]
fn migrations_are_numbered_in_order() {
    for (i, path) in files(&root().join("migrations"), "").iter().enumerate() {
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(
            name.starts_with(&format!("{:04}_", i + 1)) && name.ends_with(".sql"),
            "`{name}` is not number {}",
            i + 1
        );
    }
}

#[test]
fn fixtures_and_samples_stay_small() {
    let size = |folder: &str| files(&root().join(folder), "").iter().map(|p| p.metadata().unwrap().len()).sum::<u64>();
    let total = size("tests") + size("data");
    assert!(total < 50_000_000, "fixtures and samples take {total} bytes");
}

#[test]
fn scripts_are_executable() {
    use std::os::unix::fs::PermissionsExt;
    for script in [".ci/run", "tests/compose.sh"] {
        let mode = fs::metadata(root().join(script)).unwrap().permissions().mode();
        assert!(mode & 0o111 == 0o111, "{script} has mode {mode:o}");
    }
}
