//! Trying it without a tenant: `simulate` and `serve` side by side, set up by what the pages and the program itself say. Events come by themselves.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::app::{Output, binary, finish, runtime, signal, wait};
use crate::events::free_address;

/// A program that ends with the story.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the simulated company, and gives what it says of itself.
fn simulate(more: &[&str]) -> (Running, Value) {
    let mut command = binary();
    command.args([
        "simulate",
        "--listen",
        "127.0.0.1:0",
        "--days",
        "2",
        "--json",
    ]);
    command.args(more);
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = piped.spawn().expect("the binary starts");
    let stdout = child.stdout.take().expect("it is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let said = serde_json::from_str(&line).expect("JSON");
    (Running(child), said)
}

/// What `init` writes, with the tenant that `simulate` names in place of its own, and the jobs of events alone.
fn set_up(folder: &Path, said: &Value) {
    assert_eq!(finish(binary().arg("init").arg(folder)).code, 0);
    let path = folder.join("meetlake.toml");
    let written = std::fs::read_to_string(&path).expect("a configuration");
    let (before, after) = written
        .split_once("[tenants.acme]")
        .expect("the tenant of the template");
    let (_, after) = after
        .split_once("\n# Everything below")
        .expect("what follows it");
    let tenant = said["configuration"].as_str().expect("text");
    let text = format!("{before}{tenant}\n# Everything below{after}");
    std::fs::write(path, text).expect("written");
    for job in std::fs::read_dir(folder.join("jobs")).expect("jobs") {
        let path = job.expect("a job").path();
        if !path.to_string_lossy().contains("_event") {
            std::fs::remove_file(path).expect("removed");
        }
    }
}

fn meetlake(folder: &Path, args: &[&str]) -> Command {
    let mut command = binary();
    command.args(args).current_dir(folder).env("HOME", folder);
    command.env_remove("XDG_DATA_HOME");
    command
}

fn run(folder: &Path, args: &[&str]) -> Output {
    finish(&mut meetlake(folder, args))
}

fn post(url: &str, body: &str) -> (u16, Value) {
    runtime().block_on(async {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let request = reqwest::Client::new().post(url).body(body.to_owned());
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    })
}

#[test]
fn whoever_follows_the_pages_sees_events_arrive_by_either_inlet() {
    let address = free_address();
    for inlet in [&[][..], &["--webhook", &address]] {
        let (mut company, said) = simulate(&[&["--events", "1s"], inlet].concat());
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        set_up(folder, &said);
        let valid = run(folder, &["validate"]);
        assert_eq!(valid.code, 0, "{valid:?}");
        let page = free_address();
        let mut serve = meetlake(folder, &["serve", "--listen", &page]);
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let mut serve = Running(serve.stderr(log).spawn().expect("the binary starts"));
        let status = || run(folder, &["status", "--json"]).json();
        let until = |what: &str, holds: &dyn Fn() -> bool| {
            let began = Instant::now();
            while !holds() {
                let log = || std::fs::read_to_string(folder.join("log"));
                let is_long = began.elapsed() > Duration::from_secs(150);
                assert!(!is_long, "{inlet:?}, {what}: {:?}", log());
                std::thread::sleep(Duration::from_millis(200));
            }
        };
        let rows = |dataset: &str| {
            let status = status();
            // Before the ledger is there, there is no list.
            let days = status["partitions"].as_array().into_iter().flatten();
            let days = days.filter(|day| day["dataset"] == dataset);
            days.map(|day| day["rows"].as_u64().expect("a count"))
                .sum::<u64>()
        };
        until("events of both kinds are in the lake", &|| {
            rows("meeting_event") > 0 && rows("room_event") > 0
        });
        // One of a type, now.
        let kept = |of_type: &str| {
            let status = status();
            let of = status["events"].as_array().into_iter().flatten();
            let mut of = of.filter(|of| of["event_type"] == of_type);
            of.next()
                .map_or(0, |of| of["kept"].as_u64().expect("a count"))
        };
        let of_type = "vc.room_level.deleted_v1";
        let events = format!(
            "{}/_simulator/events",
            said["base_url"].as_str().expect("text")
        );
        let before = kept(of_type);
        let (code, told) = post(&events, &format!(r#"{{"type":"{of_type}"}}"#));
        assert_eq!((code, &told["data"]["event_type"]), (200, &of_type.into()));
        until("the event that was asked for is kept", &|| {
            kept(of_type) > before
        });
        assert_eq!(post(&events, r#"{"type":"vc.no_such_type"}"#).0, 404);
        // Exit code 0 and the days that are not over; a person sees when each type came.
        let text = run(folder, &["status"]).stdout;
        assert!(
            text.contains("last received") && text.contains(of_type),
            "{text}"
        );
        for child in [&mut serve.0, &mut company.0] {
            signal(child, "TERM");
            let (code, _) = wait(child, Duration::from_secs(25));
            assert_eq!(code, Some(0), "{inlet:?}");
        }
        assert_eq!(run(folder, &["verify"]).code, 0);
    }
}

#[test]
fn simulate_prints_the_configuration_that_it_says_is_to_be_written() {
    for (more, expected) in [
        (
            &[][..],
            "[tenants.simulated.events]\n  inlet = \"long_connection\"\n",
        ),
        (
            &["--webhook", "127.0.0.1:8643"],
            "inlet = \"webhook\"\n  listen = \"127.0.0.1:8643\"\n  verification_token = \"simulator-verification-token\"\n",
        ),
    ] {
        let mut command = binary();
        command.args(["simulate", "--listen", "127.0.0.1:0", "--events", "0s"]);
        let piped = command.args(more).stdout(Stdio::piped());
        let mut company = Running(piped.spawn().expect("the binary starts"));
        let stdout = company.0.stdout.take().expect("it is piped");
        let mut text = String::new();
        for line in BufReader::new(stdout).lines() {
            text = format!("{text}{}\n", line.expect("text"));
            if text.contains(expected) {
                break;
            }
        }
        assert!(text.contains("for each `curl -X POST http://"), "{text}");
        signal(&company.0, "TERM");
        // Whoever reads no further is no reason to end with an error.
        wait(&mut company.0, Duration::from_secs(25));
    }
}
