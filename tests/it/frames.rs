//! The long connection's messages against those of the vendor's SDK, and against anything at all.
//!
//! `MEETLAKE_SEED` repeats a case. With `MEETLAKE_LONG` there are far more frames, and each fuzz runs for a minute.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use meetlake::testing::long_connection::{LinkFrame, PartBuffer};
use meetlake::testing::webhook::{Signature, WebhookSecrets, accept};
use meetlake_simulator::WebhookSender;
use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk_frames.py");

fn is_long() -> bool {
    std::env::var_os("MEETLAKE_LONG").is_some()
}

fn seed() -> u64 {
    let given = std::env::var("MEETLAKE_SEED").ok();
    given.map_or(20_261_128, |text| text.parse().expect("a number"))
}

/// The Python that has the SDK.
fn python() -> Option<OsString> {
    let Some(python) = std::env::var_os("MEETLAKE_TEST_PYTHON") else {
        println!("skipped: MEETLAKE_TEST_PYTHON is not set; tests/run sets it");
        return None;
    };
    let has_sdk = Command::new(&python)
        .args(["-c", "import lark_oapi.ws.pb.pbbp2_pb2"])
        .output();
    if !has_sdk.is_ok_and(|output| output.status.success()) {
        println!("skipped: {} has no lark_oapi", python.display());
        return None;
    }
    Some(python)
}

/// The lines that the script prints.
fn script(python: &OsString, args: &[&str], input: &str) -> Vec<Value> {
    lines_of(python, SCRIPT, args, input)
}

/// The lines that a script prints, each of which is JSON.
pub(crate) fn lines_of(python: &OsString, script: &str, args: &[&str], input: &str) -> Vec<Value> {
    let mut child = Command::new(python)
        .arg(script)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("written").expect("read whole");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let lines = String::from_utf8(output.stdout).expect("text");
    let line = |line| serde_json::from_str(line).expect("JSON");
    lines.lines().map(line).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &Value) -> Vec<u8> {
    let digits = hex.as_str().expect("digits").as_bytes().chunks(2);
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(pair, 16).expect("hex")
    };
    digits.map(byte).collect()
}

/// A frame as the script writes one.
fn values(frame: &LinkFrame) -> Value {
    json!({
        "hex": hex(&frame.encode()),
        "seq_id": frame.seq_id.to_string(),
        "log_id": frame.log_id.to_string(),
        "service": frame.service,
        "method": frame.method,
        "headers": frame.headers,
        "payload_encoding": frame.payload_encoding,
        "payload_type": frame.payload_type,
        "payload": frame.payload.as_deref().map(hex),
        "log_id_new": frame.log_id_new,
    })
}

/// What differs between a frame of the SDK's and what ours reads and writes in its place; by field.
fn differences(theirs: &Value) -> Vec<String> {
    let frame = match LinkFrame::decode(&bytes(&theirs["hex"])) {
        Ok(frame) => frame,
        Err(error) => return vec![error.to_string()],
    };
    let ours = values(&frame);
    let fields = ours.as_object().expect("an object").iter();
    let differing = fields.filter(|(name, value)| theirs[name.as_str()] != **value);
    differing.map(|(name, _)| name.clone()).collect()
}

#[test]
fn frames_of_the_vendors_sdk_are_read_to_the_same_values_and_written_as_the_same_bytes() {
    let Some(python) = python() else { return };
    let count = if is_long() { "20000" } else { "1500" };
    let seed = seed().to_string();
    let theirs = script(&python, &["make", &seed, count], "");
    let mut buffer = PartBuffer::default();
    let (mut messages, mut splits, mut open) = (0, 0, BTreeMap::new());
    for line in &theirs {
        assert_eq!(differences(line), [""; 0], "MEETLAKE_SEED={seed}: {line}");
        let Some(whole) = line.get("message") else {
            continue;
        };
        let frame = LinkFrame::decode(&bytes(&line["hex"])).expect("a frame");
        let id = frame.header("message_id").expect("an id").to_owned();
        let numbers = (frame.header("sum"), frame.header("seq"));
        let payload = frame.payload.clone().unwrap_or_default();
        splits += u64::from(numbers.0 != Some("1"));
        let joined = buffer.take(&id, numbers, payload, Duration::ZERO);
        match joined.expect("it fits") {
            Some(joined) => {
                assert_eq!(joined, bytes(whole), "MEETLAKE_SEED={seed}: {id}");
                open.remove(&id);
                messages += 1;
            }
            None => {
                open.insert(id, ());
            }
        }
    }
    assert!(open.is_empty(), "never whole: {open:?}");
    assert!(messages > 100 && splits > 1_000, "{messages} {splits}");
    println!(
        "{} frames of the SDK, {messages} messages of them whole",
        theirs.len()
    );
}

#[test]
fn our_frames_are_read_by_the_vendors_sdk_to_the_same_values() {
    let Some(python) = python() else { return };
    let count = if is_long() { 20_000 } else { 1_500 };
    let mut draw = Draw(seed());
    let ours: Vec<LinkFrame> = (0..count).map(|_| any_frame(&mut draw)).collect();
    let lines: Vec<Value> = ours.iter().map(values).collect();
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let theirs = script(&python, &["read"], &input);
    assert_eq!(theirs.len(), lines.len());
    for (ours, theirs) in lines.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "MEETLAKE_SEED={}", seed());
    }
}

/// A difference of each field, planted one at a time, is seen.
#[test]
fn a_difference_in_any_field_is_noticed() {
    let mut frame = any_frame(&mut Draw(1));
    frame.headers = vec![("type".to_owned(), "event".to_owned())];
    let sound = values(&frame);
    assert_eq!(differences(&sound), [""; 0]);
    for (name, wrong) in [
        ("seq_id", json!("12345")),
        ("log_id", json!("12345")),
        ("service", json!(12_345)),
        ("method", json!(12_345)),
        ("headers", json!([["type", "card"]])),
        ("headers", json!([])),
        ("payload_encoding", json!("planted")),
        ("payload_type", json!("planted")),
        ("payload", json!("00112233")),
        ("log_id_new", json!("planted")),
    ] {
        let mut planted = sound.clone();
        planted[name] = wrong;
        assert_eq!(differences(&planted), [name]);
    }
    let mut cut = sound;
    cut["hex"] = json!("0800");
    assert_eq!(differences(&cut), ["the required field `LogID` is missing"]);
}

// --- anything -------------------------------------------------------------------------------------------------------

/// Numbers from a seed: splitmix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.next() as u8).collect()
    }
}

fn any_frame(draw: &mut Draw) -> LinkFrame {
    const TEXTS: [&str; 9] = [
        "",
        "type",
        "event",
        "sum",
        "1",
        "周会 🎉",
        "\u{0}\u{1f}",
        "e\u{301}\u{202e}",
        "\n",
    ];
    let text = |draw: &mut Draw| draw.pick(&TEXTS).to_owned();
    let long = "=".repeat(draw.below(70_000));
    let number = |draw: &mut Draw| {
        let any = draw.next();
        draw.pick(&[0, 127, 128, u64::MAX, 1 << 63, any])
    };
    let (seq_id, log_id) = (number(draw), number(draw));
    let signed = |draw: &mut Draw| {
        let any = draw.next() as i32;
        draw.pick(&[0, 1, -1, i32::MIN, i32::MAX, any])
    };
    let (service, method) = (signed(draw), signed(draw));
    let headers = (0..draw.below(8))
        .map(|_| (text(draw), text(draw)))
        .collect();
    let payload = match draw.below(4) {
        0 => None,
        1 => Some(long.into_bytes()),
        _ => Some(draw.bytes(300)),
    };
    let optional = |draw: &mut Draw| (draw.below(3) == 0).then(|| text(draw));
    LinkFrame {
        seq_id,
        log_id,
        service,
        method,
        headers,
        payload_encoding: optional(draw),
        payload_type: optional(draw),
        payload,
        log_id_new: optional(draw),
    }
}

/// Another text of bytes: some are flipped, doubled, cut or put in.
fn damaged(draw: &mut Draw, sound: &[u8]) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..=draw.below(6) {
        let at = draw.below(bytes.len() + 1);
        match draw.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, draw.next() as u8),
            2 if at < bytes.len() => bytes[at] = draw.next() as u8,
            3 if at < bytes.len() => bytes[at] ^= 1 << draw.below(8),
            _ => {
                let piece = bytes[at..].iter().take(draw.below(40)).copied();
                let piece: Vec<u8> = piece.collect();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

/// Tries inputs until the time is over, and says how many those were.
fn fuzz(name: &str, mut try_one: impl FnMut(&mut Draw)) {
    let long_enough = Duration::from_millis(if is_long() { 60_000 } else { 1_000 });
    let (began, mut tried) = (Instant::now(), 0_u64);
    let mut draw = Draw(seed());
    while began.elapsed() < long_enough {
        try_one(&mut draw);
        tried += 1;
    }
    let seconds = began.elapsed().as_secs();
    println!("{name}: {tried} inputs in {seconds} s");
    assert!(tried > 1_000, "{name}: only {tried} inputs");
}

/// Whatever comes is refused or is a frame that says the same once it is written.
#[test]
fn no_bytes_are_too_much_for_the_codec() {
    let mut read = 0_u64;
    fuzz("frames", |draw| {
        let sound = any_frame(draw).encode();
        let input = match draw.below(8) {
            0 => draw.bytes(200),
            _ => damaged(draw, &sound),
        };
        if let Ok(frame) = LinkFrame::decode(&input) {
            assert_eq!(LinkFrame::decode(&frame.encode()).as_ref(), Ok(&frame));
            read += 1;
        }
    });
    assert!(read > 0, "some damage is none");
}

/// Whatever parts come, in whatever order and with whatever numbers: nothing is joined that was never sent.
#[test]
fn no_parts_are_too_much_for_their_buffer() {
    let mut buffer = PartBuffer::default();
    let (mut now, mut joined) = (0, 0_u64);
    fuzz("parts", |draw| {
        let numbers = [
            "0",
            "1",
            "2",
            "3",
            "4",
            "1000",
            "1001",
            "-1",
            "x",
            "",
            "4000000000",
        ];
        let (sum, seq) = (draw.pick(&numbers), draw.pick(&numbers));
        let number = |draw: &mut Draw, text| (draw.below(10) > 0).then_some(text);
        let of = (number(draw, sum), number(draw, seq));
        let (id, payload) = (draw.below(90).to_string(), draw.bytes(3));
        now += draw.below(50) as u64;
        if let Ok(Some(whole)) = buffer.take(&id, of, payload, Duration::from_millis(now)) {
            assert!(whole.len() <= 3 * 1_000);
            joined += 1;
        }
    });
    assert!(joined > 0, "some of them fit");
}

/// Whatever calls come, none is believed but the one that was sent.
#[test]
fn no_call_of_the_webhook_is_believed_that_was_not_sent() {
    let token = "of-the-app";
    let secrets = |key: Option<&str>| WebhookSecrets {
        verification_token: token.to_owned().into(),
        encrypt_key: key.map(|key| key.to_owned().into()),
    };
    let key = Some("of-the-key");
    let sender = WebhookSender {
        verification_token: token.to_owned(),
        encrypt_key: key.map(str::to_owned),
    };
    let body = json!({"schema": "2.0", "header": {"token": token, "event_id": "e"}, "event": {"a": "周会"}});
    let sound = sender.event(&body.to_string(), "n");
    let header = |name: &str| {
        let found = sound
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let signature = Signature {
        timestamp: header("x-lark-request-timestamp"),
        nonce: header("x-lark-request-nonce"),
        signature: header("x-lark-signature"),
    };
    let (signed, clear) = (secrets(key), secrets(None));
    assert!(
        accept(&signed, signature, &sound.body).is_ok(),
        "the sound one is"
    );
    fuzz("calls of the webhook", |draw| {
        let input = match draw.below(6) {
            0 => draw.bytes(300),
            1 => json!({"encrypt": hex(&draw.bytes(80))})
                .to_string()
                .into_bytes(),
            _ => damaged(draw, &sound.body),
        };
        if input != sound.body {
            assert!(accept(&signed, signature, &input).is_err(), "{input:?}");
            assert!(
                accept(&signed, Signature::default(), &input).is_err(),
                "{input:?}"
            );
        }
        // Without a key anybody may write the body, but only with the token.
        let input = damaged(draw, body.to_string().as_bytes());
        let has_token = input
            .windows(token.len())
            .any(|part| part == token.as_bytes());
        let is_believed = accept(&clear, Signature::default(), &input).is_ok();
        assert!(
            has_token || !is_believed,
            "{}",
            String::from_utf8_lossy(&input)
        );
    });
}
