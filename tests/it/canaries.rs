//! Secrets and personal data go where they belong and nowhere else.
//!
//! Each secret is a string of its own, a canary. The program is taken through every verb at the most talkative log level, in text and in JSON,
//! against an API and a store that send back what they are told; then everything it wrote or said is searched. A secret is in none of it. Personal
//! data is the product: workbooks, packs, Parquet and the spool hold it. Logs, errors, names of files, the ledger, manifests, quarantine records and pages must not.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aho_corasick::AhoCorasick;
use jiff::ToSpan as _;
use jiff::civil::Date;
use meetlake::testing::cli::App;
use meetlake::testing::client::{Client, Error, ExportStatus, Settings, UserTokenSettings};
use meetlake::testing::clock::Clock;
use meetlake::testing::config;
use meetlake::testing::dataset::Dataset;
use meetlake::testing::store::Lake;
use meetlake::testing::task::ExportId;
use meetlake::testing::task::{FileToken, State};
use meetlake_simulator::{LinkFaults, SentEvent, TICKET, meetings as simulated};
use rust_xlsxwriter::Workbook;
use serde_json::{Value, json};

use crate::app::{KEY_FILE, Output, SECRET, Setup, TestApp, signal, wait, zone};
use crate::gate::{Act, Answer, Does, Gate, Place, Seen, When, Wrong};
use crate::serving::Serving;

const APP_SECRET: &str = "canary-app-secret-7f3a";
const FILE_SECRET: &str = "canary-file-secret-91bc";
const REFRESH_TOKEN: &str = "ur-canary-refresh-55aa";
const SIGNED_URL: &str = "canary-signature-c0de";
const CELL: &str = "canary-cell-value-3e11";
const BAD_CELL: &str = "canary-bad-cell-b4d5";
const EMAIL: &str = "canary.person@example.com";
const PHONE: &str = "+86138canary0042";
const NAME: &str = "卡娜瑞";
const S3_KEY_ID: &str = "CANARYS3KEYID00017";
const S3_SECRET: &str = "canary/s3+secret/key-22f0";
const S3_SESSION: &str = "canary-s3-session-token-83ab";
const AZURE_KEY: &str = "Y2FuYXJ5LWF6dXJlLWFjY291bnQta2V5LWZmMTE=";
const AZURE_SAS: &str = "canarysassignature66";
const GOOGLE_KEY: &str = "canary-google-private-key-19de";
const LAKE_PASSWORD: &str = "canary-lake-password-4417";
const LAKE_QUERY: &str = "canary-lake-query-5e5e";
const HOST_PASSWORD: &str = "canary-host-password-0a0b";
const HOST_QUERY: &str = "canary-host-query-9c9c";
const INLINE_SECRET: &str = "canary-inline-secret-6d6d";
const OPTION_SECRET: &str = "canary-option-secret-e2e2";
const VERIFICATION_TOKEN: &str = "canary-verification-token-71d2";
const ENCRYPT_KEY: &str = "canary-encrypt-key-0f4c";
const MEETING_PASSWORD: &str = "canary-meeting-password-c3a8";

/// Verbs at the most talkative level, in both formats.
const FORMATS: [&[&str]; 2] = [&["--log", "trace"], &["--log", "trace", "--log-json"]];

// --- the checker ----------------------------------------------------------------------------------------------------

/// Something that was written or said, and where.
struct Written {
    name: String,
    bytes: Vec<u8>,
}

/// Everything to be searched.
#[derive(Default)]
struct Places(Vec<Written>);

impl Places {
    fn add(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        let (name, bytes) = (name.into(), bytes.into());
        self.0.push(Written { name, bytes });
    }

    fn add_output(&mut self, name: &str, output: &Output) {
        self.add(format!("{name}: stdout"), output.stdout.as_bytes());
        self.add(format!("{name}: stderr"), output.stderr.as_bytes());
    }

    /// The ledger's files, the records in the lake, and the name of every file; not what the product consists of.
    fn add_folder(&mut self, folder: &Path) {
        let files = crate::app::snapshot(folder);
        let names: Vec<String> = files
            .keys()
            .map(|path| path.display().to_string())
            .collect();
        self.add("names of files", names.join("\n"));
        for (path, (bytes, _)) in files {
            let name = path
                .strip_prefix(folder)
                .expect("below it")
                .display()
                .to_string();
            let is_ledger = name.starts_with("meetlake.db");
            let is_record = name.starts_with("lake/_") && name.ends_with(".json");
            if is_ledger || is_record || name == "child.log" {
                self.add(name, bytes);
            }
        }
    }

    /// What the lake says of itself: every record, and the name of every object.
    fn add_records(&mut self, folder: &Path) {
        let lake = folder.join("lake");
        let files = crate::app::snapshot(&lake);
        let names = files.keys().map(|path| path.display().to_string());
        self.add("names of files", names.collect::<Vec<_>>().join("\n"));
        for (path, (bytes, _)) in files {
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                self.add(path.display().to_string(), bytes);
            }
        }
    }

    /// Every file of the program's own, the product too, unpacked: no secret is in any of it. Left out are the files that secrets are read from.
    fn add_every_file(&mut self, folder: &Path) {
        for (path, (bytes, _)) in crate::app::snapshot(folder) {
            let name = path.strip_prefix(folder).expect("below it").display();
            let name = name.to_string();
            if matches!(name.as_str(), "refresh" | "secret" | KEY_FILE) {
                continue;
            }
            self.add_unpacked(&name, &bytes);
            if name.ends_with(".parquet") {
                let rows = crate::lake::rows_of(&path);
                self.add(format!("{name}, its rows"), format!("{rows:?}"));
            }
            self.add(name, bytes);
        }
    }

    /// The parts of a zip, and of those in it.
    fn add_unpacked(&mut self, name: &str, bytes: &[u8]) {
        let Ok(mut zip) = zip::ZipArchive::new(std::io::Cursor::new(bytes)) else {
            return;
        };
        for index in 0..zip.len() {
            let mut part = zip.by_index(index).expect("a part");
            let name = format!("{name}/{}", part.name().expect("a name"));
            let mut bytes = Vec::new();
            part.read_to_end(&mut bytes).expect("it is whole");
            self.add_unpacked(&name, &bytes);
            self.add(name, bytes);
        }
    }

    /// Where a canary was found: as it is, as it stands in a query, or as letters and digits alone, which is how log ids are shown.
    fn find(&self, canaries: &[String]) -> Vec<String> {
        const LONG_ENOUGH: usize = 16;
        // All of them in one pass: one after the other took most of a story's time.
        let mut forms: Vec<(usize, String)> = Vec::new();
        for (number, canary) in canaries.iter().enumerate() {
            let escaped = url::form_urlencoded::byte_serialize(canary.as_bytes()).collect();
            let bare: String = canary.chars().filter(char::is_ascii_alphanumeric).collect();
            let bare = Some(bare).filter(|bare| bare.len() >= LONG_ENOUGH);
            let of_canary = [canary.clone(), escaped].into_iter().chain(bare);
            forms.extend(of_canary.map(|form| (number, form)));
        }
        let search = AhoCorasick::new(forms.iter().map(|(_, form)| form)).expect("texts");
        let mut found = Vec::new();
        for place in &self.0 {
            let mut of_place: BTreeMap<usize, &str> = BTreeMap::new();
            for hit in search.find_overlapping_iter(&place.bytes) {
                let (number, form) = &forms[hit.pattern().as_usize()];
                of_place.entry(*number).or_insert(form);
            }
            for (number, form) in of_place {
                let (canary, context) = (&canaries[number], around(&place.bytes, form));
                found.push(format!("{canary} in {}: {context}", place.name));
            }
        }
        found
    }

    /// How much was searched.
    fn bytes(&self) -> usize {
        self.0.iter().map(|place| place.bytes.len()).sum()
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == text[0]) {
        rest = &rest[at..];
        if rest.starts_with(text) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

/// What stands around a canary, for whoever has to find out how it came there.
fn around(bytes: &[u8], canary: &str) -> String {
    let text = String::from_utf8_lossy(bytes);
    let Some(at) = text.find(canary) else {
        return String::new();
    };
    let before: String = text[..at]
        .chars()
        .rev()
        .take(200)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    let after: String = text[at..].chars().take(200).collect();
    format!("{before}{after}")
}

fn owned(canaries: &[&str]) -> Vec<String> {
    canaries.iter().map(|canary| (*canary).to_owned()).collect()
}

#[test]
fn the_checker_finds_a_planted_canary_wherever_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    };
    write(
        "meetlake.db-wal",
        format!("\0\x01binary {APP_SECRET}\0").as_bytes(),
    );
    write("lake/_quarantine/x.json", CELL.as_bytes());
    write(
        "lake/_manifest/x.json",
        b"?token=canary%2Fs3%2Bsecret%2Fkey-22f0",
    );
    write(&format!("spool/{EMAIL}.rows"), b"");
    write("spool/original", PHONE.as_bytes());
    write(
        "lake/_manifest/inputs/x.json",
        b"{\"user_id\":\"48beab13\"}",
    );
    write("lake/_raw/tenant=48beab13.zip", b"48beab13");
    let mut records = Places::default();
    records.add_records(folder.path());
    assert_eq!(records.find(&owned(&["48beab13", CELL])).len(), 3);
    let mut places = Places::default();
    places.add_folder(folder.path());
    let found = places.find(&owned(&[APP_SECRET, CELL, S3_SECRET, EMAIL, PHONE]));
    assert_eq!(
        found.len(),
        4,
        "a workbook's content is the product: {found:#?}"
    );
}

// --- an API that tells everything back ------------------------------------------------------------------------------

/// An error that holds everything that the request held.
fn echo(status: u16, code: i64, seen: &Seen) -> Act {
    let msg = format!(
        "{} {} {} {}",
        seen.bearer(),
        seen.target,
        seen.query("file_token").unwrap_or_default(),
        String::from_utf8_lossy(&seen.body)
    );
    let body = json!({
        "code": code, "msg": msg, "error_description": msg,
        "error": { "log_id": seen.bearer(), "permission_violations": [{ "subject": seen.bearer() }] },
    });
    // The caller's own secret: another's nobody but that one can know to be a secret.
    let is_beta = String::from_utf8_lossy(&seen.body).contains(FILE_SECRET);
    let log_id = match seen.bearer() {
        "" if is_beta => FILE_SECRET,
        "" => APP_SECRET,
        bearer => bearer,
    };
    Act::Answer(Answer::json(status, &body).with("x-tt-logid", log_id))
}

/// The same as a gateway's page.
fn echo_page(seen: &Seen) -> Act {
    let page = format!(
        "<h1>502</h1><p>{} {} {}</p>",
        seen.target,
        seen.bearer(),
        String::from_utf8_lossy(&seen.body)
    );
    Act::Answer(Answer::new(502, "text/html", page))
}

fn telltale() -> Vec<Wrong> {
    let wrong = |place, when, does| Wrong { place, when, does };
    vec![
        wrong(
            Place::Token,
            When::First(1),
            Does::Instead(|s, _| echo(500, 2200, s)),
        ),
        wrong(
            Place::Token,
            When::Always,
            Does::After(|s, _, a| {
                let is_beta = String::from_utf8_lossy(&s.body).contains(FILE_SECRET);
                if is_beta {
                    echo(200, 10015, s)
                } else {
                    Act::Answer(a)
                }
            }),
        ),
        wrong(
            Place::UserToken,
            When::First(1),
            Does::Instead(|s, _| echo(500, 20050, s)),
        ),
        wrong(
            Place::Poll,
            When::First(1),
            Does::Instead(|s, _| echo(500, 121001, s)),
        ),
        wrong(
            Place::Download,
            When::First(1),
            Does::Instead(|s, _| echo_page(s)),
        ),
        wrong(
            Place::Download,
            When::First(2),
            Does::Instead(|s, _| echo(500, 121001, s)),
        ),
        wrong(
            Place::Submit,
            When::Always,
            Does::After(|s, _, a| {
                let is_struck =
                    s.path().ends_with("participant_quality_list") && s.number.is_multiple_of(2);
                if is_struck {
                    echo(400, 121003, s)
                } else {
                    Act::Answer(a)
                }
            }),
        ),
        wrong(
            Place::Poll,
            When::Always,
            Does::After(|s, _, a| {
                // A failure with a message that tells everything, and an address that is signed.
                let failed =
                    json!({ "status": 2, "fail_msg": format!("{} {}", s.bearer(), APP_SECRET) });
                Act::Answer(a.edit(|body| match s.number {
                    4 => body["data"] = failed,
                    _ => {
                        body["data"]["url"] =
                            json!(format!("https://files.example.com/x?sig={SIGNED_URL}"))
                    }
                }))
            }),
        ),
    ]
}

/// An application whose API tells everything back, with a tenant that signs in as a user and one whose secret is wrong.
fn app_with_canaries() -> (TestApp, Gate) {
    let mut setup = Setup::real().with(|options| {
        (options.days, options.meetings_per_day) = (1, 3);
        options.app_secret = APP_SECRET.to_owned();
        options.refresh_token = REFRESH_TOKEN.to_owned();
    });
    setup.datasets.push(Dataset::Alert);
    let app = setup.start();
    let gate = app.block_on(Gate::start(app.server().base_url()));
    app.teach_pace();
    let (host, app_id) = (gate.url(), &app.setup.options.app_id);
    app.write("refresh", REFRESH_TOKEN);
    app.write("secret", FILE_SECRET);
    for name in ["refresh", "secret"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(app.path(name), mode).expect("a mode");
    }
    app.write("meetlake.toml", &format!(
        "version = 1\n[lake]\nurl = \"lake\"\nkey_file = \"keys/lake.key\"\n\
         [tenants.acme]\nhost = \"{host}\"\napp_id = \"{app_id}\"\napp_secret = \"${{CANARY_APP_SECRET}}\"\nrefresh_token_file = \"refresh\"\n\
         [tenants.beta]\nhost = \"{host}\"\napp_id = \"{app_id}\"\napp_secret_file = \"secret\"\n\
         [limits]\nexports_per_minute = 10000\nrooms_per_minute = 10000\nreports_per_minute = 10000\n"
    ));
    (app, gate)
}

fn command(app: &TestApp, args: &[&str], format: &[&str]) -> Command {
    let mut command = app.command(&[args, format].concat());
    command.env("CANARY_APP_SECRET", APP_SECRET);
    command
}

/// What the company's people would not like to read in a log.
fn personal_data(app: &TestApp) -> Vec<String> {
    let company = app.server().company();
    let people = company.employees().iter().flat_map(|person| {
        [
            &person.name,
            &person.email,
            &person.mobile,
            &person.employee_no,
        ]
        .map(String::clone)
    });
    let topics = company
        .meetings()
        .iter()
        .map(|meeting| meeting.topic.trim().to_owned());
    let computers = company.alerts().iter().map(|alert| alert.room_mac.clone());
    // Shorter ones are words that anybody uses.
    people
        .chain(topics)
        .chain(computers)
        .filter(|text| text.len() >= 6)
        .collect()
}

/// Every id by which Feishu knows one of the company's people.
fn ids_of_people(app: &TestApp) -> Vec<String> {
    let people = app.server().company().employees().iter();
    people
        .flat_map(|person| [&person.user_id, &person.open_id, &person.union_id].map(String::clone))
        .collect()
}

#[test]
fn no_secret_and_nobody_s_data_is_where_it_should_not_be() {
    let (app, gate) = app_with_canaries();
    let mut places = Places::default();
    let day = app.first_day().to_string();
    let range = [
        "backfill",
        "--from",
        &day,
        "--to",
        &app.end_day().to_string(),
    ];
    for (format, more) in FORMATS.into_iter().zip([
        &["--again", "--deadline", "10s"][..],
        &["--again", "--deadline", "10s", "--json"],
    ]) {
        let mut wrong = telltale();
        if more.contains(&"--json") {
            // Tasks stay where they have their file's token and not yet the file.
            let always = Does::Instead(|s, _| echo(500, 121001, s));
            wrong.push(Wrong {
                place: Place::Download,
                when: When::Always,
                does: always,
            });
        }
        gate.set(&wrong);
        let args = [&range, more].concat();
        let output = crate::app::finish(&mut command(&app, &args, format));
        assert!(output.stderr.contains("TRACE"), "the log says everything");
        assert!([0, 3].contains(&output.code), "{}", output.stdout);
        places.add_output(&args.join(" "), &output);
        places.add_folder(app.path("").as_path());
        gate.set(&[]);
        for args in [
            &["validate"][..],
            &["plan"],
            &["plan", "--json"],
            &["status"],
            &["status", "--json"],
            &["doctor"],
            &["doctor", "--json"],
            &["run", "--deadline", "3s", "--json"],
            &["verify"],
            &["verify", "--json"],
            &["replay"],
            &["replay", "--json"],
            &["orphans"],
            &["orphans", "--older-than", "1s", "--delete", "--json"],
            &["retry", "--quarantine", "--deadline", "3s"],
        ] {
            let output = crate::app::finish(&mut command(&app, args, format));
            places.add_output(&args.join(" "), &output);
        }
    }
    serve(&app, &mut places);
    for format in FORMATS {
        for file in crate::lake::below(&app.path("")) {
            let name = file.file_name().expect("a name").to_string_lossy();
            if name.starts_with("meetlake.db") {
                places.add(
                    format!("before the rebuild: {name}"),
                    fs::read(&file).expect("it is there"),
                );
                fs::remove_file(&file).expect("removed");
            }
        }
        let output = crate::app::finish(&mut command(&app, &["ledger", "rebuild"], format));
        assert_eq!(output.code, 0, "{output:?}");
        places.add_output("ledger rebuild", &output);
    }
    places.add_folder(app.path("").as_path());
    debug_and_panic(&app, &gate, &mut places);

    let masked = places
        .0
        .iter()
        .filter(|place| contains(&place.bytes, "***"));
    assert!(masked.count() > 0, "nothing was told back");
    let mut canaries = owned(&[APP_SECRET, FILE_SECRET, REFRESH_TOKEN, SIGNED_URL]);
    let key = fs::read_to_string(app.path(KEY_FILE)).expect("a key");
    canaries.push(key.trim().to_owned());
    let tokens = gate.tokens();
    let kinds = |prefix: &str| {
        tokens
            .iter()
            .filter(|token| token.starts_with(prefix))
            .count()
    };
    assert!(
        kinds("t-") > 0 && kinds("ur-") > 0 && tokens.len() > 10,
        "{tokens:?}"
    );
    canaries.extend(tokens);
    let secrets = canaries.len();
    assert!(secrets >= 20, "{secrets} canaries");
    let mut everything = Places::default();
    everything.add_every_file(app.path("").as_path());
    let kinds = [".parquet, its rows", ".xml", "r000001.json", "meetlake.db"];
    for kind in kinds {
        let is_there = everything.0.iter().any(|place| place.name.ends_with(kind));
        assert!(is_there, "no {kind} was searched");
    }
    println!(
        "{} files and parts of files, {} bytes, searched for the secrets",
        everything.0.len(),
        everything.bytes()
    );
    let found = everything.find(&canaries);
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    let ids = ids_of_people(&app);
    assert!(ids.len() > 10, "{ids:?}");
    let mut records = Places::default();
    records.add_records(app.path("").as_path());
    let in_records = ["inputs/", "r000001.json", "_meetlake/", "names of files"];
    for kind in in_records {
        let is_there = records.0.iter().any(|place| place.name.contains(kind));
        assert!(is_there, "no {kind} was searched");
    }
    println!(
        "{} records of the lake, {} bytes, searched for {} ids of people and {} personal texts",
        records.0.len(),
        records.bytes(),
        ids.len(),
        personal_data(&app).len()
    );
    let found = records.find(&[ids, personal_data(&app)].concat());
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    canaries.extend(personal_data(&app));
    let found = places.find(&canaries);
    println!(
        "{secrets} secrets and {} personal texts, {} places, {} bytes",
        canaries.len() - secrets,
        places.0.len(),
        places.bytes()
    );
    assert!(
        found.is_empty(),
        "{} found:\n{}",
        found.len(),
        found
            .iter()
            .take(10)
            .cloned()
            .collect::<Vec<_>>()
            .join("\n\n")
    );
}

/// The pages of days that a page leads to.
fn linked_days(page: &str) -> Vec<String> {
    let links = page.split("href=\"").skip(1);
    let links = links.filter_map(|rest| rest.split('"').next());
    links
        .filter(|path| path.starts_with("/day/"))
        .map(str::to_owned)
        .collect()
}

/// A server in the middle of its work: its pages, its log, and its ledger with what is not in the main file yet.
fn serve(app: &TestApp, places: &mut Places) {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = address.expect("a free port").to_string();
    let log = fs::File::create(app.path("child.log")).expect("a log");
    let mut command = command(app, &["serve", "--listen", &address], FORMATS[1]);
    command
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log);
    let mut child = command.spawn().expect("the binary starts");
    let get = |path: &str| {
        app.block_on(async {
            let url = format!("http://{address}{path}");
            reqwest::get(url).await.ok()?.text().await.ok()
        })
    };
    let began = Instant::now();
    while get("/healthz").is_none() {
        assert!(began.elapsed() < Duration::from_secs(30), "it answers");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
    for path in ["/", "/status.json", "/readyz", "/healthz", "/nowhere"] {
        let page = get(path).expect("it answers");
        for day in linked_days(&page) {
            places.add(format!("serve: {day}"), get(&day).expect("it answers"));
        }
        places.add(format!("serve: {path}"), page);
    }
    for suffix in ["", "-wal", "-shm"] {
        let file = app.path(&format!("meetlake.db{suffix}"));
        places.add(
            format!("serve: the ledger{suffix}"),
            fs::read(file).unwrap_or_default(),
        );
    }
    signal(&child, "TERM");
    wait(&mut child, Duration::from_secs(25));
}

/// The texts that a programmer's `{:?}` or a panic would print.
fn debug_and_panic(app: &TestApp, gate: &Gate, places: &mut Places) {
    let environment = |name: &str| (name == "CANARY_APP_SECRET").then(|| APP_SECRET.to_owned());
    let config = config::load(&app.path("meetlake.toml"), &environment).expect("it is valid");
    places.add("Debug of Config", format!("{config:?} {config:#?}"));
    let settings = Settings {
        user_token: Some(UserTokenSettings {
            refresh_token_file: app.path("refresh"),
        }),
        ..Settings::new(
            gate.url().parse().expect("a URL"),
            "cli_1",
            APP_SECRET.into(),
        )
    };
    places.add("Debug of Settings", format!("{settings:?} {settings:#?}"));
    let client = Client::new(settings, Clock::system()).expect("a client");
    places.add("Debug of Client", format!("{client:?} {client:#?}"));
    let done = ExportStatus::Done {
        file_token: FILE_SECRET.into(),
    };
    places.add("Debug of ExportStatus", format!("{done:?} {done:#?}"));
    let ready = State::Ready {
        export_id: ExportId("1".into()),
        submitted_at: jiff::Timestamp::UNIX_EPOCH,
        file_token: FileToken(FILE_SECRET.into()),
        relinked: false,
    };
    places.add(
        "Debug and JSON of State",
        format!("{ready:?} {ready:#?} {}", json!(ready)),
    );
    gate.set(&[Wrong {
        place: Place::Token,
        when: When::Always,
        does: Does::Instead(|s, _| echo(400, 10015, s)),
    }]);
    let error: Error = app
        .block_on(client.check_token())
        .expect_err("it is refused");
    places.add("Debug of Error", format!("{error} {error:?} {error:#?}"));
    let open = app
        .block_on(App::open(config, Clock::system(), "test"))
        .expect("everything opens");
    places.add("Debug of App", format!("{open:?} {open:#?}"));
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let everything = (&open, &client, &error, &ready, &done);
        panic!("a panic that prints everything: {everything:?}");
    }));
    let panic = panic.expect_err("it panicked");
    let text = panic.downcast_ref::<String>().expect("its message");
    assert!(text.contains("host"), "it prints something: {text}");
    places.add("a panic", text.as_bytes());
}

// --- events -----------------------------------------------------------------------------------------------------------

/// Events of the company, each with the password of its meeting.
fn events_with_passwords(app: &TestApp) -> Vec<SentEvent> {
    let mut events = crate::events::events_of(app);
    for event in &mut events {
        let mut body: Value = serde_json::from_str(&event.body).expect("JSON");
        if let Some(meeting) = body["event"]["meeting"].as_object_mut() {
            meeting.insert("password".into(), MEETING_PASSWORD.into());
        }
        event.body = body.to_string();
    }
    events
}

/// What every verb says of a lake, in both formats, and then again of a ledger that was made from the lake.
fn ask_every_verb(app: &TestApp, places: &mut Places) {
    let text = ["run", "status", "plan", "verify", "replay", "orphans"];
    let json = ["run", "status", "doctor"];
    for (format, more, verbs) in [
        (FORMATS[0], None, &text[..]),
        (FORMATS[1], Some("--json"), &json[..]),
    ] {
        for verb in verbs {
            let args: Vec<&str> = [*verb].into_iter().chain(more).collect();
            let output = app.meetlake(&[&args, format].concat());
            // `doctor` may miss a scope, and says which.
            assert!([0, 3, 4].contains(&output.code), "{args:?}: {output:?}");
            places.add_output(&args.join(" "), &output);
        }
        app.lose_ledger();
        let output = app.meetlake(&[&["ledger", "rebuild"], format].concat());
        assert_eq!(output.code, 0, "{output:?}");
        places.add_output("ledger rebuild", &output);
    }
    places.add_folder(app.path("").as_path());
}

/// Secrets in every file but the configuration, which they are read from.
fn secrets_in_files(app: &TestApp, secrets: &[String], kinds: &[&str]) -> Vec<String> {
    let mut everything = Places::default();
    everything.add_every_file(app.path("").as_path());
    everything.0.retain(|place| place.name != "meetlake.toml");
    for kind in kinds {
        let is_there = everything.0.iter().any(|place| place.name.contains(kind));
        assert!(is_there, "no {kind} was searched");
    }
    println!(
        "{} files and parts of files, {} bytes, searched for {} secrets",
        everything.0.len(),
        everything.bytes(),
        secrets.len()
    );
    everything.find(secrets)
}

/// Ids and personal data of people in what the lake says of itself, and personal data in what was said.
fn people_found(app: &TestApp, places: &Places) -> Vec<String> {
    let people = personal_data(app);
    let mut records = Places::default();
    records.add_records(app.path("").as_path());
    assert!(!people.is_empty() && records.0.len() > 2);
    let in_records = records.find(&[ids_of_people(app), people.clone()].concat());
    [in_records, places.find(&people)].concat()
}

#[test]
fn no_secret_of_an_event_is_anywhere_and_nobody_is_named_where_it_should_not_be() {
    for is_webhook in [false, true] {
        let address = crate::events::free_address();
        let mut setup = Setup::real().only(&crate::events::EVENTS);
        setup = setup.with(|options| options.verification_token = VERIFICATION_TOKEN.to_owned());
        setup.environment = Some(("MEETLAKE_LOG", "trace".to_owned()));
        if is_webhook {
            setup.inlet = format!(
                "inlet = \"webhook\"\nlisten = \"{address}\"\n\
                 verification_token = \"{VERIFICATION_TOKEN}\"\nencrypt_key = \"{ENCRYPT_KEY}\"\n"
            );
        }
        let app = setup.start();
        let gate = through_a_gate(&app);
        let mut places = Places::default();
        let mut serving = Serving::start(&app);
        let sent = events_with_passwords(&app);
        if is_webhook {
            let sender = crate::events::sender(&app, Some(ENCRYPT_KEY));
            for (number, event) in sent.iter().enumerate() {
                let mut call = sender.event(&event.body, &number.to_string());
                assert_eq!(crate::events::post(&app, &address, &call).0, 200);
                // Refused, with everything in it.
                call.body = event.body.clone().into_bytes();
                let (status, answer) = crate::events::post(&app, &address, &call);
                assert_eq!((status, answer.as_str()), (401, ""));
            }
        } else {
            let report = || app.server().link_report();
            serving.until(|| report().open == 1, "it is connected");
            // The way back is refused with what was sent, and each event has a neighbour that makes no sense.
            gate.set(&[Wrong {
                place: Place::Other,
                when: When::First(1),
                does: Does::Instead(|s, _| echo(500, 1, s)),
            }]);
            app.server().set_link_faults(LinkFaults {
                handshake: Some((514, None, 1)),
                closes_after: Some(sent.len() as u64 / 2),
                parts: 4,
                garbage: true,
                ..LinkFaults::default()
            });
            app.server().send(&sent);
            serving.until(
                || report().acknowledged == crate::events::ids(&sent),
                "all are acknowledged",
            );
            assert!(report().connections > 1 && gate.struck() > 0);
        }
        let secrets = owned(&[
            VERIFICATION_TOKEN,
            ENCRYPT_KEY,
            MEETING_PASSWORD,
            SECRET,
            TICKET,
            "access_key=",
        ]);
        // The ledger still has the bodies, without secrets.
        let found = secrets_in_files(&app, &secrets, &["meetlake.db-wal", "child.log"]);
        assert_eq!(found, [""; 0], "{is_webhook}");
        for path in ["/", "/status.json", "/readyz", "/nowhere"] {
            let (_, page) = serving.get(path).expect("it answers");
            for day in linked_days(&page) {
                places.add(
                    format!("serve: {day}"),
                    serving.get(&day).expect("it answers").1,
                );
            }
            places.add(format!("serve: {path}"), page);
        }
        signal(&serving.child, "TERM");
        wait(&mut serving.child, Duration::from_secs(25));
        drop(serving);
        ask_every_verb(&app, &mut places);
        let log = fs::read_to_string(app.path("child.log")).expect("a log");
        assert!(log.contains("DEBUG"), "the log says everything");
        let kinds = ["meetlake.db", ".parquet, its rows", ".zip/", "_manifest/"];
        let found = secrets_in_files(&app, &secrets, &kinds);
        let found = [found, places.find(&secrets), people_found(&app, &places)].concat();
        assert!(found.is_empty(), "{is_webhook}: {}", found.join("\n\n"));
        let rows = crate::events::EVENTS.map(|of| crate::lake::rows(&app.lake(), of).len());
        assert_eq!(rows.iter().sum::<usize>(), sent.len());
    }
}

/// Lets an application ask a gate in place of its API.
fn through_a_gate(app: &TestApp) -> Gate {
    let gate = app.block_on(Gate::start(app.server().base_url()));
    let config = fs::read_to_string(app.path("meetlake.toml")).expect("a file");
    let config = config.replace(app.server().base_url(), &gate.url());
    app.write("meetlake.toml", &config);
    gate
}

// --- what is asked for in JSON --------------------------------------------------------------------------------------

/// An answer that breaks off in the middle, behind somebody's name and password.
fn broken_off(mut answer: Answer) -> Act {
    answer.body.truncate(answer.body.len() - 2);
    Act::Answer(answer)
}

#[test]
fn no_secret_of_an_answer_is_anywhere_and_nobody_is_named_where_it_should_not_be() {
    let datasets = Dataset::ALL.into_iter().filter(|of| !of.is_received());
    let datasets: Vec<Dataset> = datasets.collect();
    let mut setup = Setup::real().only(&datasets).with(|options| {
        (options.days, options.meetings_per_day) = (1, 3);
    });
    setup = setup.knobs(crate::second_source::grant);
    for dataset in crate::second_source::TWO_SOURCES {
        setup = setup.job(dataset, crate::second_source::BY_QUERY);
    }
    let app = setup.start();
    let gate = through_a_gate(&app);
    let wrong = |place, when, does| Wrong { place, when, does };
    gate.set(&[
        wrong(
            Place::Other,
            When::First(1),
            Does::Instead(|s, _| echo(500, 121001, s)),
        ),
        wrong(
            Place::Rooms,
            When::First(1),
            Does::Instead(|s, _| echo_page(s)),
        ),
        wrong(
            Place::Other,
            When::Always,
            Does::After(|s, _, answer| match s.number {
                5 => broken_off(answer),
                _ => Act::Answer(answer),
            }),
        ),
    ]);
    let mut places = Places::default();
    let output = app.meetlake(&["run", "--log", "trace"]);
    assert!([0, 3].contains(&output.code), "{}", output.stdout);
    places.add_output("run", &output);
    assert!(gate.struck() > 2, "{}", gate.struck());
    gate.set(&[]);
    ask_every_verb(&app, &mut places);
    for dataset in &datasets {
        let rows = crate::lake::rows(&app.lake(), *dataset);
        // Not every meeting is recorded.
        assert!(
            !rows.is_empty() || *dataset == Dataset::Recording,
            "{dataset} has rows"
        );
    }
    let company = app.server().company();
    let meetings = company.meetings().iter();
    let mut secrets: Vec<String> = meetings.map(|of| simulated::password(of)).collect();
    for reserve in company.reserves() {
        secrets.extend([reserve.password, reserve.settings_password]);
    }
    assert!(secrets.len() > 5, "{secrets:?}");
    let tokens = gate.tokens();
    assert!(!tokens.is_empty());
    secrets.extend(tokens);
    secrets.push(SECRET.to_owned());
    let kinds = ["meetlake.db", ".parquet, its rows", ".zip/", "_manifest/"];
    let found = secrets_in_files(&app, &secrets, &kinds);
    let found = [found, places.find(&secrets), people_found(&app, &places)].concat();
    println!(
        "{} secrets, {} places, {} bytes",
        secrets.len(),
        places.0.len(),
        places.bytes()
    );
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

// --- workbooks with cells that do not fit ---------------------------------------------------------------------------

/// Rows for both days, half of them each; in one of them, or in all, a duration that is none.
fn people(all_bad: bool) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet();
    let last: Date = jiff::Timestamp::now()
        .to_zoned(zone())
        .date()
        .saturating_sub(2.days());
    let headers = [
        "会议ID",
        "会议主题",
        "会议组织者",
        "邮箱",
        "手机",
        "会议开始时间",
        "会议结束时间",
        "会议持续时间",
    ];
    for (column, header) in (0..).zip(headers) {
        sheet.write(0, column, header).expect("a header");
    }
    for row in 0..40u32 {
        let day = last
            .saturating_sub(i64::from(row % 2).days())
            .strftime("%Y.%m.%d");
        let (start, end) = (
            format!("{day} 10:{row:02}:00 (GMT+08:00)"),
            format!("{day} 11:00:00 (GMT+08:00)"),
        );
        let duration = if all_bad || row == 7 {
            BAD_CELL
        } else {
            "00:30:00"
        };
        let number = (100_000_000 + row).to_string();
        for (column, text) in (0..).zip([
            number.as_str(),
            CELL,
            NAME,
            EMAIL,
            PHONE,
            &start,
            &end,
            duration,
        ]) {
            sheet.write(row + 1, column, text).expect("a cell");
        }
    }
    workbook.save_to_buffer().expect("a workbook")
}

#[test]
fn no_cell_of_a_workbook_is_told_when_it_does_not_fit() {
    let app = Setup::real().only(&[Dataset::MeetingList]).start();
    let gate = app.block_on(Gate::start(app.server().base_url()));
    app.teach_pace();
    let config = fs::read_to_string(app.path("meetlake.toml")).expect("a file");
    app.write(
        "meetlake.toml",
        &config.replace(app.server().base_url(), &gate.url()),
    );
    gate.set(&[Wrong {
        place: Place::Download,
        when: When::Always,
        does: Does::Instead(|s, _| {
            Act::Answer(Answer::new(
                200,
                "application/octet-stream",
                people(!s.is_victim),
            ))
        }),
    }]);
    let mut places = Places::default();
    let output = app.backfill(&["--log", "trace"]);
    assert_eq!(output.code, 3, "{}", output.stdout);
    assert!(
        output.stdout.contains("duration"),
        "the column is named: {}",
        output.stdout
    );
    places.add_output("backfill", &output);
    for args in [
        &["status", "--log", "trace"][..],
        &["status", "--json"],
        &["plan", "--json"],
    ] {
        places.add_output(&args.join(" "), &app.meetlake(args));
    }
    for (name, all_bad) in [("good.xlsx", false), ("bad.xlsx", true)] {
        fs::write(app.path(name), people(all_bad)).expect("a file");
        for more in [
            &["--log", "trace"][..],
            &["--json", "--log", "trace", "--log-json"],
        ] {
            let args = [
                "convert",
                "--dataset",
                "meeting_list",
                "--time-zone",
                "Asia/Shanghai",
                "--out",
                "out.parquet",
                name,
            ];
            let output = app.meetlake(&[&args, more].concat());
            assert_eq!(output.code, if all_bad { 7 } else { 0 }, "{output:?}");
            places.add_output(&format!("convert {name}"), &output);
        }
    }
    places.add_folder(app.path("").as_path());
    let records = places
        .0
        .iter()
        .filter(|place| place.name.starts_with("lake/_quarantine"));
    assert!(records.count() > 0, "something is in quarantine");
    let found = places.find(&owned(&[CELL, BAD_CELL, EMAIL, PHONE, NAME]));
    println!(
        "5 canaries, {} places, {} bytes",
        places.0.len(),
        places.bytes()
    );
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

// --- a store that tells everything back -----------------------------------------------------------------------------

/// Answers every request with an error that holds the request and every secret of a store.
fn echoing_store() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                let mut bytes = vec![0; 64 << 10];
                let count = stream.read(&mut bytes).unwrap_or(0);
                let request = String::from_utf8_lossy(&bytes[..count]).into_owned();
                let secrets = [S3_KEY_ID, S3_SECRET, S3_SESSION, AZURE_KEY, AZURE_SAS].join(" ");
                let body = format!(
                    "<Error><Code>Denied</Code><Message>{secrets} {request}</Message></Error>"
                );
                let length = body.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\r\n{body}"
                );
            });
        }
    });
    format!("http://{address}")
}

#[test]
fn no_secret_of_a_store_is_told() {
    let endpoint = echoing_store();
    let s3 = format!(
        "aws_endpoint = \"{endpoint}\"\naws_region = \"us-east-1\"\naws_access_key_id = \"${{K1}}\"\naws_secret_access_key = \"${{K2}}\"\naws_session_token = \"${{K3}}\"\n"
    );
    let azure = |credential: &str| {
        format!(
            "azure_storage_account_name = \"account\"\nazure_storage_endpoint = \"{endpoint}\"\n{credential}\n"
        )
    };
    let lakes = [
        ("s3://lake/x", s3),
        (
            "az://lake/x",
            azure("azure_storage_account_key = \"${K4}\""),
        ),
        ("az://lake/x", azure("azure_storage_sas_token = \"${K5}\"")),
        (
            "gs://lake/x",
            "google_service_account_key = \"${K6}\"".to_owned(),
        ),
    ];
    let workers = lakes.map(|(lake, options)| {
        std::thread::spawn(move || {
            let mut setup = Setup::real().only(&[Dataset::DailyReport]);
            setup.lake = Some(lake.to_owned());
            setup.lake_options = format!("[lake.options]\n{options}");
            let app = setup.start();
            let mut places = Places::default();
            for format in FORMATS {
                for args in [&["run"][..], &["run", "--json"], &["doctor"], &["doctor", "--json"], &["validate"], &["plan"], &["status", "--json"]] {
                    let mut command = app.command(&[args, format].concat());
                    let google = json!({ "type": "service_account", "private_key": GOOGLE_KEY, "private_key_id": GOOGLE_KEY, "client_email": "x", "disable_oauth": false });
                    let google = google.to_string();
                    let sas = format!("sv=2022-11-02&sig={AZURE_SAS}");
                    for (name, value) in [("K1", S3_KEY_ID), ("K2", S3_SECRET), ("K3", S3_SESSION), ("K4", AZURE_KEY), ("K5", &sas), ("K6", &google)] {
                        command.env(name, value);
                    }
                    let output = crate::app::finish(&mut command);
                    if args[0] == "run" || args[0] == "doctor" {
                        assert_ne!(output.code, 0, "{lake} {args:?}: {output:?}");
                    }
                    places.add_output(&format!("{lake} {}", args.join(" ")), &output);
                }
            }
            places.add_folder(app.path("").as_path());
            // What a store is not given cannot be hidden by knowing it: only its own secrets are looked for.
            let mine: &[&str] = match &lake[..2] {
                "s3" => &[S3_KEY_ID, S3_SECRET, S3_SESSION],
                "az" if app.setup.lake_options.contains("K4") => &[AZURE_KEY],
                "az" => &[AZURE_SAS],
                _ => &[GOOGLE_KEY],
            };
            println!("{lake}: {} places, {} bytes", places.0.len(), places.bytes());
            places.find(&owned(mine))
        })
    });
    for worker in workers {
        let found = worker.join().expect("no assertion failed");
        assert!(found.is_empty(), "{}", found.join("\n\n"));
    }
    let options = [
        ("aws_secret_access_key", S3_SECRET),
        ("aws_access_key_id", S3_KEY_ID),
    ];
    let options = options
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let lake = Lake::open("s3://lake/x", &options).expect("a lake");
    let mut places = Places::default();
    places.add("Debug of Lake", format!("{lake:?} {lake:#?}"));
    assert_eq!(
        places.find(&owned(&[S3_SECRET, S3_KEY_ID])),
        Vec::<String>::new()
    );
}

// --- secrets where they must not be given ---------------------------------------------------------------------------

#[test]
fn a_secret_in_the_wrong_place_of_the_configuration_is_refused_and_not_repeated() {
    let tenant = |host: &str, secret: &str| {
        format!("[tenants.acme]\nhost = \"{host}\"\napp_id = \"cli_1\"\n{secret}\n")
    };
    let good = tenant("feishu", "app_secret = \"${CANARY_APP_SECRET}\"");
    let wrong = [
        format!("[lake]\nurl = \"s3://key:{LAKE_PASSWORD}@lake/x\"\n{good}"),
        format!("[lake]\nurl = \"s3://lake/x?sig={LAKE_QUERY}\"\n{good}"),
        format!(
            "[lake]\nurl = \"lake\"\n{}",
            tenant(
                &format!("https://user:{HOST_PASSWORD}@open.example.com"),
                "app_secret = \"${CANARY_APP_SECRET}\""
            )
        ),
        format!(
            "[lake]\nurl = \"lake\"\n{}",
            tenant(
                &format!("https://open.example.com/?token={HOST_QUERY}"),
                "app_secret = \"${CANARY_APP_SECRET}\""
            )
        ),
        format!(
            "[lake]\nurl = \"lake\"\n{}",
            tenant("feishu", &format!("app_secret = \"{INLINE_SECRET}\""))
        ),
        format!(
            "[lake]\nurl = \"s3://lake\"\n[lake.options]\naws_secret_access_key = \"{OPTION_SECRET}\"\n{good}"
        ),
    ];
    let app = Setup::real().start();
    let mut places = Places::default();
    for config in wrong {
        app.write("meetlake.toml", &format!("version = 1\n{config}"));
        for args in [
            &["validate"][..],
            &["validate", "--json"],
            &["run"],
            &["doctor", "--json"],
            &["plan"],
            &["status"],
            &["serve"],
        ] {
            let output = crate::app::finish(&mut command(&app, args, FORMATS[0]));
            assert_eq!(output.code, 2, "{config}: {output:?}");
            places.add_output(&args.join(" "), &output);
        }
    }
    let canaries = [
        APP_SECRET,
        LAKE_PASSWORD,
        LAKE_QUERY,
        HOST_PASSWORD,
        HOST_QUERY,
        INLINE_SECRET,
        OPTION_SECRET,
    ];
    println!(
        "{} canaries, {} places, {} bytes",
        canaries.len(),
        places.0.len(),
        places.bytes()
    );
    assert_eq!(places.find(&owned(&canaries)), Vec::<String>::new());
}

// --- text that a terminal would obey --------------------------------------------------------------------------------

#[test]
fn a_sheet_s_name_and_header_cannot_paint_the_terminal() {
    let hostile = "\u{9b}31m\u{202e}\u{7f}red";
    let mut workbook = Workbook::new();
    for name in [format!("a{hostile}"), format!("b{hostile}")] {
        let sheet = workbook.add_worksheet();
        sheet.set_name(&name).expect("a name");
        for (column, header) in (0..).zip(["会议ID", "会议开始时间", &format!("new{hostile}")])
        {
            sheet.write(0, column, header).expect("a header");
        }
        sheet.write(1, 0, "123456789").expect("a cell");
        sheet
            .write(1, 1, format!("no time {hostile}"))
            .expect("a cell");
    }
    let app = Setup::real().start();
    fs::write(
        app.path("in.xlsx"),
        workbook.save_to_buffer().expect("a workbook"),
    )
    .expect("a file");
    for more in [
        &[][..],
        &["--json"],
        &["--log", "trace"],
        &["--log", "trace", "--log-json"],
    ] {
        let args = [
            "convert",
            "--dataset",
            "meeting_list",
            "--time-zone",
            "UTC",
            "--out",
            "out.parquet",
            "in.xlsx",
        ];
        let output = app.meetlake(&[&args, more].concat());
        let obeyed = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}');
        assert!(!output.text().contains(obeyed), "{output:?}");
        assert!(
            output.text().contains("red"),
            "the name is shown: {output:?}"
        );
    }
}

// --- core files -----------------------------------------------------------------------------------------------------

#[cfg(target_os = "linux")]
#[test]
fn the_process_leaves_no_core_file_and_lets_nobody_look_into_it() {
    use std::io::BufRead as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::process::CommandExt as _;

    let is_root = fs::metadata("/proc/self").expect("this process").uid() == 0;
    let mut command = crate::app::binary();
    command.args([
        "simulate",
        "--listen",
        "127.0.0.1:0",
        "--days",
        "1",
        "--json",
    ]);
    if is_root {
        // The files of a process of root's are root's anyway.
        command.uid(65_534);
    }
    let piped = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let mut child = piped.spawn().expect("the binary starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("it is piped");
    std::io::BufReader::new(stdout)
        .read_line(&mut line)
        .expect("it has started");
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", child.id()));
    let limits = read("limits").expect("its limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = core.expect("a line").split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{words:?}");
    // What belongs to a process that must not be dumped belongs to root, whoever runs it.
    for name in ["environ", "mem", "maps"] {
        let data = fs::metadata(format!("/proc/{}/{name}", child.id())).expect("a file");
        assert_eq!(data.uid(), 0, "{name}");
    }
    if !is_root {
        assert!(read("environ").is_err(), "its environment can be read");
    }
    signal(&child, "TERM");
    wait(&mut child, Duration::from_secs(25));
}
