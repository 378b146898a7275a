//! Holds the code to the layers that `lib.rs` lists, to one meaning a name, and to one place for
//! what is known of a dataset.
//!
//! Reads the sources as text: every `crate::…` outside of comments and test modules is a use. Each
//! check is shown to notice a planted breach.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::datasets::Dataset;
use crate::store::options::{self, OptionProblem};

/// The stages that decide or convert: they use the ground only.
const PURE_STAGES: [&str; 4] = ["plan", "decode", "normalize", "policy"];

/// Paths below `src`, and the texts of the files.
type Sources = BTreeMap<String, String>;

/// A module uses another one, in a file.
type Uses = BTreeMap<(String, String), String>;

fn sources() -> Sources {
    fn collect(folder: &Path, prefix: &str, found: &mut Sources) {
        for entry in fs::read_dir(folder).expect("the sources are there") {
            let entry = entry.expect("an entry");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                collect(&entry.path(), &format!("{name}/"), found);
            } else {
                found.insert(name, fs::read_to_string(entry.path()).expect("text"));
            }
        }
    }
    let mut found = Sources::new();
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    collect(folder, "", &mut found);
    found
}

/// The layers of `lib.rs` from top to bottom, each with its modules.
fn layers(lib: &str) -> Vec<(String, Vec<String>)> {
    let mut layers: Vec<(String, Vec<String>)> = Vec::new();
    for line in lib.lines() {
        if let Some(title) = line.strip_prefix("// --- ") {
            let name = title.split(':').next().unwrap_or_default();
            layers.push((name.to_owned(), Vec::new()));
        }
        let module = line
            .strip_prefix("pub(crate) mod ")
            .and_then(|rest| rest.strip_suffix(';'));
        if let (Some(module), Some((_, modules))) = (module, layers.last_mut()) {
            modules.push(module.to_owned());
        }
    }
    layers
}

/// The code of a file without its comments and its test module.
fn code(text: &str) -> String {
    let is_tests = |after: &str| {
        let line = after.lines().next().unwrap_or_default();
        line == "mod tests {" || line.starts_with("pub") && line.ends_with(" mod tests {")
    };
    let mut parts = text.split_inclusive("\n#[cfg(test)]\n").peekable();
    let mut code = String::new();
    while let Some(part) = parts.next() {
        code.push_str(part);
        if parts.peek().is_some_and(|after| is_tests(after)) {
            break;
        }
    }
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let lines = code.lines().filter(is_code);
    lines.collect::<Vec<_>>().join("\n")
}

fn uses(sources: &Sources) -> Uses {
    let mut uses = Uses::new();
    for (path, text) in sources {
        let module = path.split(['/', '.']).next().unwrap_or_default();
        if path.ends_with("tests.rs") || path.contains("/tests/") {
            continue;
        }
        let text = code(text);
        let mut add = |used: &str| {
            if used != module {
                let edge = (module.to_owned(), used.to_owned());
                uses.entry(edge).or_insert_with(|| path.clone());
            }
        };
        for after in text.split("crate::").skip(1) {
            match after.strip_prefix('{') {
                Some(group) => top_level(group).iter().for_each(|name| add(name)),
                None => add(&word(after)),
            }
        }
    }
    uses
}

/// The first word of a text.
fn word(text: &str) -> String {
    let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    text.chars().take_while(is_part).collect()
}

/// The first word of each item of `a::B, c::{D, E}, f}`.
fn top_level(group: &str) -> Vec<String> {
    let (mut depth, mut items, mut item) = (0, Vec::new(), String::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(std::mem::take(&mut item)),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    items.push(item);
    items.iter().map(|item| word(item.trim())).collect()
}

/// What breaks the layers.
fn breaches(layers: &[(String, Vec<String>)], uses: &Uses) -> Vec<String> {
    let layer_of = |module: &str| {
        let holds = |(_, modules): &(String, Vec<String>)| modules.iter().any(|m| m == module);
        layers.iter().position(holds)
    };
    let mut breaches = Vec::new();
    for ((module, used), path) in uses {
        // `main`, `lib`, this file and the face for tests stand beside the layers.
        let (Some(upper), Some(lower)) = (layer_of(module), layer_of(used)) else {
            continue;
        };
        let name = |layer: usize| layers.get(layer).map_or("", |(name, _)| name.as_str());
        if lower < upper {
            breaches.push(format!(
                "{path}: {module} uses {used}, which stands above it"
            ));
        }
        if (name(upper), name(lower)) == ("stages", "stages") {
            breaches.push(format!("{path}: the stage {module} uses the stage {used}"));
        }
        if PURE_STAGES.contains(&module.as_str()) && name(lower) != "ground" {
            breaches.push(format!("{path}: {module} uses {used}, which is not ground"));
        }
    }
    breaches.extend(circle(uses).map(|circle| format!("a circle: {}", circle.join(" → "))));
    breaches
}

/// Modules that use one another in a circle, if there are any.
fn circle(uses: &Uses) -> Option<Vec<String>> {
    let mut left: BTreeSet<(&str, &str)> = uses
        .keys()
        .map(|(module, used)| (module.as_str(), used.as_str()))
        .collect();
    // Modules that use nothing, or that nobody uses, are in no circle.
    loop {
        let users: BTreeSet<&str> = left.iter().map(|(module, _)| *module).collect();
        let used: BTreeSet<&str> = left.iter().map(|(_, used)| *used).collect();
        let before = left.len();
        left.retain(|(module, to)| users.contains(to) && used.contains(module));
        if left.len() == before {
            break;
        }
    }
    let (mut path, mut next) = (Vec::new(), left.first()?.0);
    while !path.contains(&next) {
        path.push(next);
        next = left.iter().find(|(module, _)| *module == next)?.1;
    }
    path.push(next);
    Some(path.into_iter().map(str::to_owned).collect())
}

/// Names of types that are declared more than once. `Args` (one a verb) and `Error` (one a module)
/// are told apart by their modules.
fn names_with_two_meanings(sources: &Sources) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources {
        let mut in_impl = false;
        for line in text.lines() {
            // An associated type of somebody else's trait has no name of ours.
            in_impl = match line.starts_with("impl") {
                true => line.contains(" for "),
                false => in_impl && line != "}",
            };
            let is_indented = line.starts_with(' ');
            let line = line.trim_start();
            let line = line.strip_prefix("pub ").unwrap_or(line);
            let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
            let line = line.strip_prefix("pub(super) ").unwrap_or(line);
            let name = ["struct ", "enum ", "trait ", "type "]
                .iter()
                .find_map(|keyword| line.strip_prefix(keyword))
                .map(word);
            let is_declared = |name: &String| name.starts_with(|c: char| c.is_ascii_uppercase());
            let is_of_trait = line.starts_with("type ") && is_indented && in_impl;
            if let Some(name) = name.filter(is_declared).filter(|_| !is_of_trait) {
                places.entry(name).or_default().push(path.clone());
            }
        }
    }
    let is_common = |name: &str| ["Args", "Error"].contains(&name);
    places
        .into_iter()
        .filter(|(name, places)| places.len() > 1 && !is_common(name))
        .map(|(name, places)| format!("{name} in {}", places.join(", ")))
        .collect()
}

/// Files other than `policy.rs` that say of rows that a policy passed them.
fn policies_beside_the_stage(sources: &Sources) -> Vec<String> {
    let says_so = |text: &str| code(text).contains("passed_by_policy(");
    let beside = sources.iter().filter(|(path, text)| {
        !["policy.rs", "record/rows.rs", "architecture.rs"].contains(&path.as_str())
            && says_so(text)
    });
    beside.map(|(path, _)| path.clone()).collect()
}

/// What files outside of `datasets` know of single datasets: their names, endpoints and scopes.
fn datasets_known_elsewhere(sources: &Sources) -> Vec<String> {
    let mut known: Vec<String> = Vec::new();
    for dataset in Dataset::ALL {
        let definition = dataset.definition();
        known.push(format!("Dataset::{dataset:?}"));
        known.push(format!("\"{}\"", definition.name));
        known.push(format!("\"{}\"", definition.endpoint.name));
        known.push(definition.endpoint.path.to_owned());
        known.extend(definition.scopes.iter().map(|scope| (*scope).to_owned()));
    }
    // Paths of one segment are ordinary words.
    known.retain(|text| text.contains(['/', ':', '"']));
    let mut elsewhere = Vec::new();
    for (path, text) in sources {
        let is_exempt = ["datasets.rs", "architecture.rs", "testing.rs"].contains(&path.as_str());
        // `publish/rows.rs` makes rows for tests. `ledger/stored.rs` names rows of the ledger, and
        // `lake_key.rs` what is hashed.
        let is_test = path.ends_with("tests.rs")
            || path.contains("/tests/")
            || ["publish/rows.rs", "ledger/stored.rs", "lake_key.rs"].contains(&path.as_str());
        if is_exempt || is_test || path.starts_with("datasets/") {
            continue;
        }
        let text = code(text);
        let named = known.iter().filter(|name| text.contains(name.as_str()));
        elsewhere.extend(named.map(|name| format!("{path} knows {name}")));
    }
    elsewhere
}

#[test]
fn nothing_outside_of_datasets_names_a_dataset() {
    let found = datasets_known_elsewhere(&sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn modules_use_their_own_layer_and_those_below_and_never_in_a_circle() {
    let sources = sources();
    let layers = layers(&sources["lib.rs"]);
    let modules: usize = layers.iter().map(|(_, modules)| modules.len()).sum();
    let uses = uses(&sources);
    assert!(modules > 30 && uses.len() > 100, "{modules} {}", uses.len());
    let found = breaches(&layers, &uses);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_name_has_one_meaning() {
    let found = names_with_two_meanings(&sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Files beside `events` that log what a person should see; details of calls are not that.
fn logs_beside_events(sources: &Sources) -> Vec<String> {
    let levels = ["info!(", "warn!(", "error!("].map(|level| format!("tracing::{level}"));
    let is_ours = |path: &str| ["events.rs", "telemetry.rs", "architecture.rs"].contains(&path);
    let beside = sources.iter().filter(|(path, text)| {
        let text = code(text);
        !is_ours(path) && levels.iter().any(|level| text.contains(level.as_str()))
    });
    beside.map(|(path, _)| path.clone()).collect()
}

/// Files of orchestration with more lines of code than a newcomer reads in one go. The steps of
/// a task and of a partition are to be read at a glance.
fn files_that_grew(sources: &Sources) -> Vec<String> {
    let folders = ["pipeline", "run", "rebuild", "verify", "orphans", "convert"];
    let limit = |path: &str| match path {
        "pipeline.rs" => Some(300),
        _ => folders
            .iter()
            .any(|of| path == format!("{of}.rs") || path.starts_with(&format!("{of}/")))
            .then_some(500),
    };
    // Comments count: they are read too.
    let lines = |text: &str| {
        let before_tests = text.split("\n#[cfg(test)]\nmod tests {").next();
        before_tests.unwrap_or_default().lines().count()
    };
    let grown = sources.iter().filter_map(|(path, text)| {
        let limit = limit(path).filter(|limit| lines(text) > *limit)?;
        Some(format!(
            "{path} has {} lines, more than {limit}",
            lines(text)
        ))
    });
    grown.collect()
}

#[test]
fn only_events_log_what_a_person_should_see() {
    assert_eq!(logs_beside_events(&sources()), [""; 0]);
}

#[test]
fn no_file_of_orchestration_is_too_long_to_read() {
    assert_eq!(files_that_grew(&sources()), [""; 0]);
}

/// The texts in quotes of a file's code.
pub(crate) fn texts(text: &str) -> Vec<String> {
    let code = code(text);
    let (mut texts, mut current) = (Vec::new(), None::<String>);
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, &mut current) {
            ('"', Some(_)) => texts.extend(current.take()),
            ('\\', Some(text)) => match chars.next() {
                // The line goes on after its indent.
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                escaped => text.extend(escaped),
            },
            (c, Some(text)) => text.push(c),
            ('"', None) => current = Some(String::new()),
            // A quote as a character begins no text.
            ('\'', None) if chars.peek() == Some(&'"') => drop(chars.next()),
            (_, None) => {}
        }
    }
    texts
}

/// Modules whose messages tell people what to set.
const ADVISERS: [&str; 6] = ["cause", "client", "fetch", "keyring", "network", "store"];
/// What Feishu calls by such words.
const WORDS_OF_FEISHU: [&str; 5] = [
    "file_token",
    "open_id",
    "room_id",
    "task_id",
    "user_access_token",
];

/// Words of messages that look like keys of the configuration and are none, by file. Texts without
/// a blank are no messages.
fn keys_that_do_not_exist(sources: &Sources) -> Vec<String> {
    let is_key = |word: &String| {
        let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
        word.trim_matches('_').contains('_') && word.chars().all(is_part)
    };
    let module = |path: &str| path.split(['/', '.']).next().map(str::to_owned);
    let configuration = sources
        .iter()
        .filter(|(path, _)| module(path).as_deref() == Some("config"));
    let keys: BTreeSet<String> = configuration
        .flat_map(|(_, text)| texts(text))
        .filter(is_key)
        .collect();
    let is_option = |word: &str| {
        let problem = |scheme| options::problem(scheme, word, "", &[]);
        let mut problems = ["s3", "gs", "az"].map(problem).into_iter();
        problems.any(|problem| problem != Some(OptionProblem::Unknown))
    };
    let mut unknown = Vec::new();
    for (path, text) in sources {
        let adviser = ADVISERS
            .into_iter()
            .find(|adviser| module(path).as_deref() == Some(adviser));
        let Some(adviser) = adviser.filter(|_| !path.ends_with("tests.rs")) else {
            continue;
        };
        for text in texts(text).iter().filter(|text| text.contains(' ')) {
            // In braces stand names of variables.
            let shown = text
                .split('{')
                .map(|part| part.split_once('}').map_or(part, |p| p.1));
            let shown = shown.collect::<Vec<_>>().join("{");
            let words = shown.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let words = words.map(str::to_owned).filter(is_key);
            let is_known = |word: &String| {
                keys.contains(word)
                    || WORDS_OF_FEISHU.contains(&word.as_str())
                    // The options of a store are no keys of anything else.
                    || (["network", "store"].contains(&adviser) && is_option(word))
            };
            let wrong = words.filter(|word| !is_known(word));
            unknown.extend(wrong.map(|word| format!("{path} says {word}: {text}")));
        }
    }
    unknown
}

#[test]
fn messages_name_only_keys_that_exist() {
    assert_eq!(keys_that_do_not_exist(&sources()), [""; 0]);
}

#[test]
fn only_the_policy_says_that_it_passed_rows() {
    assert_eq!(policies_beside_the_stage(&sources()), [""; 0]);
}

#[test]
fn a_breach_of_each_kind_is_noticed() {
    let lib = "// --- entry: x\npub(crate) mod cli;\n// --- stages: x\npub(crate) mod plan;\n\
               pub(crate) mod publish;\n// --- adapters: x\npub(crate) mod store;\n\
               // --- ground: x\npub(crate) mod job;\npub(crate) mod task;\n";
    let planted = |path: &str, text: &str| {
        let sources = Sources::from([(path.to_owned(), text.to_owned())]);
        breaches(&layers(lib), &uses(&sources)).len()
    };
    for (path, text, expected) in [
        ("cli.rs", "use crate::plan::X;", 0),
        ("plan.rs", "use crate::job::X;", 0),
        ("plan.rs", "use crate::cli::X;", 2),
        ("plan/due.rs", "let x = crate::store::x();", 1),
        ("publish.rs", "use crate::store::X;", 0),
        ("publish.rs", "use crate::{job, plan::{A, B}};", 1),
        ("publish.rs", "// use crate::plan::X;", 0),
        ("job.rs", "use crate::publish::X;", 1),
        (
            "publish.rs",
            "x\n\n#[cfg(test)]\nmod tests {\nuse crate::plan::X;",
            0,
        ),
    ] {
        assert_eq!(planted(path, text), expected, "{path}: {text}");
    }
    let circle = Sources::from([
        ("job.rs".to_owned(), "use crate::task::X;".to_owned()),
        ("task/a.rs".to_owned(), "use crate::job::X;".to_owned()),
    ]);
    let found = breaches(&layers(lib), &uses(&circle));
    assert_eq!(found, ["a circle: job → task → job"]);

    let twice = Sources::from([
        (
            "a.rs".to_owned(),
            "pub struct Place;\nenum Error {}".to_owned(),
        ),
        (
            "b.rs".to_owned(),
            "    pub(super) enum Place {\nenum Error {}".to_owned(),
        ),
        (
            "c.rs".to_owned(),
            "impl Trait for X {\n    type Err = Y;\n}\nmod m {\n    type Kind = u8;".to_owned(),
        ),
        (
            "d.rs".to_owned(),
            "impl Trait for Z {\n    type Err = Y;\n}\nstruct Kind;".to_owned(),
        ),
    ]);
    let found = names_with_two_meanings(&twice);
    assert_eq!(found, ["Kind in c.rs, d.rs", "Place in a.rs, b.rs"]);
    let names = "Dataset::TopUser \"room\" exports/meeting_list vc:report:readonly Dataset::ALL";
    let texts = ["run.rs", "datasets/room.rs", "run/tests.rs"].map(|path| (path, names));
    let named = Sources::from(texts.map(|(path, text)| (path.to_owned(), text.to_owned())));
    // The scope is that of both reports.
    assert_eq!(datasets_known_elsewhere(&named).len(), 5);
    let logs = "fn f() { tracing::warn!(x); }\n".to_owned();
    let logs = Sources::from([
        ("a.rs".to_owned(), logs.clone()),
        ("events.rs".to_owned(), logs),
    ]);
    assert_eq!(logs_beside_events(&logs), ["a.rs"]);
    let long = |path: &str, lines| (path.to_owned(), "x;\n".repeat(lines));
    let grown = [
        long("run.rs", 501),
        long("run/a.rs", 500),
        long("pipeline.rs", 301),
    ];
    let grown = files_that_grew(&Sources::from(grown));
    assert_eq!(grown.len(), 2, "{grown:?}");
    let message = "const FIX: &str = \"check base_url, app_secret of {base_url}, \\\n    \\\"or\\\" \
                   the sas_token\"; x('\"'); \"one_word\"";
    let keys = "section.required(\"app_secret\", read); section.optional(\"sas_key\", read)";
    let says = |path: &str| {
        let texts = [("config/tenant.rs", keys), (path, message)];
        let sources = texts.map(|(path, text)| (path.to_owned(), text.to_owned()));
        let unknown = keys_that_do_not_exist(&Sources::from(sources));
        let word = |line: &String| Some(line.split(' ').nth(2)?.trim_end_matches(':').to_owned());
        unknown.iter().filter_map(word).collect::<Vec<_>>()
    };
    assert_eq!(says("client/error.rs"), ["base_url", "sas_token"]);
    // Options of Google's and of Azure's store.
    assert_eq!(says("store/error.rs"), [""; 0]);
    let passes = Sources::from([("a.rs".to_owned(), "PassedRows::passed_by_policy(x)".into())]);
    assert_eq!(policies_beside_the_stage(&passes), ["a.rs"]);
}
