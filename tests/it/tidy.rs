//! House rules that a compiler does not know; std only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The longest a source file may be.
const MOST_LINES: usize = 450;

/// The most bytes that all tracked files may take: a clone is quick, and what is larger lies in `$CLAY_PROBE_SHARED`.
const MOST_BYTES: u64 = 44_000_000;

/// All that lies at the top of the repository.
const TOP: [&str; 20] = [
    ".ci",
    ".dockerignore",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "clippy.toml",
    "config",
    "data",
    "deny.toml",
    "docker",
    "docs",
    "migrations",
    "rustfmt.toml",
    "src",
    "tests",
];

pub fn root() -> &'static Path {
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

/// Sources below `src` as code: path below `src`, text without unit tests, comments and strings.
pub fn code_of_src() -> Vec<(PathBuf, String)> {
    let inside = |(path, text): (PathBuf, String)| {
        let path = path.strip_prefix("src").ok()?.to_owned();
        Some((path, code(text.split("#[cfg(test)]").next().unwrap())))
    };
    sources().into_iter().filter_map(inside).collect()
}

/// Rust without comments and without what stands inside strings and characters.
fn code(text: &str) -> String {
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|r| r.trim_start_matches('#')).filter(|r| r.starts_with('"'));
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(open) = raw.filter(|_| !kept.ends_with(|c: char| c.is_alphanumeric() || c == '_')) {
            let hashes = rest.len() - open.len() - 1;
            let close = format!("\"{}", "#".repeat(hashes));
            hashes + 2 + open[1..].find(&close).unwrap() + close.len()
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c: char| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            });
            end.unwrap() + 2
        } else if rest.starts_with("'\\") {
            rest[3..].find('\'').unwrap() + 4
        } else if c == '\'' && rest.chars().nth(2) == Some('\'') {
            2 + rest.chars().nth(1).unwrap().len_utf8()
        } else {
            kept.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        if !rest.starts_with("//") {
            kept.push_str("\"\"");
        }
        rest = &rest[skipped..];
    }
    kept
}

#[test]
fn code_is_told_from_comments_and_strings() {
    let text = "a(\"b \\\" c\", r#\"d \" e\"#, '\\'', 'f', 'λ'); // g\nfn h<'i>(j: &'i str) {}";
    assert_eq!(code(text), "a(\"\", \"\", \"\", \"\", \"\"); \nfn h<'i>(j: &'i str) {}");
}

/// The words of a text that an identifier could be.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').collect()
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
    let code = code(text);
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

/// The table "Who may use whom" of ARCHITECTURE.md.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    table("## Who may use whom")
}

/// A table of ARCHITECTURE.md under that heading: room, then the rooms it may use.
pub fn table(heading: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = text.split(heading).nth(1).expect("the section is there").split("\n## ").next().unwrap();
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let rows = section.lines().filter(|line| line.starts_with("| `")).flat_map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        let may_use = names(cells[1]);
        names(cells[0]).into_iter().map(move |room| (room, may_use.clone())).collect::<Vec<_>>()
    });
    rows.collect()
}

/// The room that a path below `src` lies in; `lib.rs` and `main.rs` are the house.
fn room_of(path: &Path) -> Option<String> {
    let first = path.iter().next().unwrap().to_string_lossy().replace(".rs", "");
    (first != "lib" && first != "main").then_some(first)
}

#[test]
fn every_room_is_on_the_map() {
    let rooms: BTreeSet<String> = code_of_src().iter().filter_map(|(path, _)| room_of(path)).collect();
    assert_eq!(allowed().into_keys().collect::<BTreeSet<_>>(), rooms, "the table of ARCHITECTURE.md");
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let map: String = lib.lines().filter(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
    let missing: Vec<&String> = rooms.iter().filter(|room| !words(&map).contains(room.as_str())).collect();
    assert!(missing.is_empty(), "the doc comment of src/lib.rs does not name {missing:?}");
}

#[test]
fn rooms_use_only_what_they_may() {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(room) = path.strip_prefix("src").ok().and_then(room_of) else { continue };
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
        ("probe", &["tokio::", "sqlx::", "axum::", "ureq::"]),
        ("domain", &["tokio::", "sqlx", "axum::", "std::fs", "std::net"]),
        ("api", &["candle_core", "candle_nn"]),
        ("intake", &["candle_core", "File::open("]),
    ];
    for (path, code) in code_of_src() {
        for (room, forbidden) in rules.iter().filter(|(room, _)| path.starts_with(room)) {
            for word in *forbidden {
                assert!(!code.contains(word), "src/{} names `{word}`, which `{room}` must not", path.display());
            }
        }
    }
}

#[test]
fn sql_stays_in_the_store() {
    for (path, code) in code_of_src() {
        let query =
            ["sqlx::query", "query_as", "query_scalar", "QueryBuilder"].iter().find(|word| code.contains(**word));
        assert!(query.is_none() || path.starts_with("store"), "src/{} makes queries: {query:?}", path.display());
    }
}

#[test]
fn words_are_not_made_by_way_of_json() {
    for (path, code) in code_of_src() {
        for (at, opening) in code.match_indices("json!(") {
            let inside = &code[at + opening.len()..];
            let mut depth = 1;
            let end = inside.find(|c: char| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            let after = inside[end.unwrap() + 1..].trim_start();
            assert!(!after.starts_with(".as_str()"), "src/{}: `json!(…).as_str()`", path.display());
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

/// A setting is read as a field outside `src/config`, or where the settings of heads are made: their digest decides results.
#[test]
fn every_setting_has_a_reader() {
    let sources = code_of_src();
    let (config, others): (Vec<_>, Vec<_>) = sources.iter().partition(|(path, _)| path.starts_with("config"));
    let making = config.iter().find_map(|(_, code)| code.split("fn head_settings(").nth(1)).expect("it is there");
    let making = making.split("\n    }").next().unwrap();
    let text = fs::read_to_string(root().join("config/default.toml")).unwrap();
    let settings: toml::Table = toml::from_str(&text).unwrap();
    for (section, keys) in &settings {
        for key in keys.as_table().unwrap().keys() {
            let field = format!(".{key}");
            let names = |code: &str| {
                let mut after = code.match_indices(&field).map(|(at, word)| &code[at + word.len()..]);
                after.any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '('))
            };
            let read = others.iter().any(|(_, code)| names(code)) || names(making);
            assert!(read, "nothing reads `{section}.{key}` of config/default.toml");
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

/// Files of the repository, relative: tracked, or neither tracked nor ignored. Without git, all but build outputs.
fn repository() -> Vec<PathBuf> {
    if root().join(".git").exists() {
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let output = std::process::Command::new("git").current_dir(root()).args(list).output().expect("git runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        // What is deleted is still listed until that is staged.
        return names
            .map(|name| PathBuf::from(str::from_utf8(name).unwrap()))
            .filter(|p| root().join(p).exists())
            .collect();
    }
    let top = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    let found = top.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with("target"));
    let below = |path: PathBuf| if path.is_dir() { files(&path, "") } else { vec![path] };
    found.flat_map(below).map(|path| path.strip_prefix(root()).unwrap().to_owned()).collect()
}

#[test]
fn the_repository_is_light_and_holds_no_debris() {
    let files = repository();
    let strange: Vec<&PathBuf> =
        files.iter().filter(|path| !TOP.contains(&path.iter().next().unwrap().to_str().unwrap())).collect();
    assert!(strange.is_empty(), "not among what lies at the top of the repository: {strange:?}");
    let bytes: u64 = files.iter().map(|path| root().join(path).metadata().unwrap().len()).sum();
    println!("{} files, {bytes} bytes", files.len());
    assert!(bytes < MOST_BYTES, "the repository takes {bytes} bytes, more than {MOST_BYTES}");
}

/// A test that cannot run here is ignored by name, and `.ci/run` runs it where it can.
#[test]
fn no_test_passes_by_skipping() {
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    for (path, text) in sources().into_iter().filter(|(path, _)| path.starts_with("tests")) {
        assert!(!text.contains(concat!("\"skip", "ped: ")), "{} passes where it skips", path.display());
        for part in text.split("#[ignore = \"reads $CLAY_PROBE_").skip(1) {
            let prefix = format!("{}_", part.split('"').next().unwrap().to_lowercase());
            let name = part.split("fn ").nth(1).unwrap();
            assert!(name.starts_with(&prefix), "{}: its name must start with `{prefix}`: {name:.40}", path.display());
            assert!(ci.contains(&format!("--ignored {prefix}")), ".ci/run does not run `{prefix}…`");
        }
    }
}

#[test]
fn scripts_are_executable() {
    use std::os::unix::fs::PermissionsExt;
    for script in files(&root().join("tests"), ".sh").into_iter().chain([root().join(".ci/run")]) {
        let mode = fs::metadata(&script).unwrap().permissions().mode();
        assert!(mode & 0o111 == 0o111, "{} has mode {mode:o}", script.display());
    }
}
