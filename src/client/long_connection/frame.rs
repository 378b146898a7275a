//! The frame of the long connection: one protobuf message (`pbbp2.Frame`, proto2) in each binary
//! WebSocket message (resources, 5.3.3).
//!
//! Two messages with nine fields do not need a code generator. Required fields are always written,
//! even if they are 0, because a proto2 peer refuses a frame without them. What comes in is hostile
//! until it is read: every length is checked before anything is allocated for it.

/// The longest frame that is read or made, bytes. Events have a few kilobytes.
pub const LONGEST_FRAME: usize = 9 << 20;

/// The most headers of one frame; Feishu sends six.
const MOST_HEADERS: usize = 64;

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A value goes beyond the end.
    #[error("it is cut off")]
    CutOff,
    /// A number has more than 64 bits.
    #[error("a number is too long")]
    Overlong,
    /// Field number 0, or a wire type that proto2 does not have or that groups use.
    #[error("a field is of no known kind")]
    FieldKind,
    /// A field that is known has another kind than it should.
    #[error("the field {0} is of another kind")]
    OtherKind(u64),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A required field is missing.
    #[error("the required field `{0}` is missing")]
    Missing(&'static str),
    /// It is longer than any event is.
    #[error("it is longer than {LONGEST_FRAME} bytes")]
    TooLong,
    /// It has more headers than any frame has.
    #[error("it has more than {MOST_HEADERS} headers")]
    TooManyHeaders,
}

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// `ping`, `pong`.
    Control,
    /// An event, and its acknowledgement.
    Data,
    /// A method that nobody documents.
    Unknown(i32),
}

/// One frame. All of what came is kept, because an acknowledgement sends it back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFrame {
    /// Number of the frame.
    pub seq_id: u64,
    /// Id in the sender's logs; may be 2^63 and more.
    pub log_id: u64,
    /// The connection's service.
    pub service: i32,
    /// 0 control, 1 data.
    pub method: i32,
    /// Key and value, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// Not used by anybody.
    pub payload_encoding: Option<String>,
    /// Not used by anybody.
    pub payload_type: Option<String>,
    /// The event, a part of it, or the answer to it.
    pub payload: Option<Vec<u8>>,
    /// Another id in the sender's logs.
    pub log_id_new: Option<String>,
}

impl LinkFrame {
    /// The client's sign of life.
    #[must_use]
    pub fn ping(service: i32) -> Self {
        Self {
            service,
            headers: vec![("type".to_owned(), "ping".to_owned())],
            ..Self::default()
        }
    }

    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        match self.method {
            0 => FrameKind::Control,
            1 => FrameKind::Data,
            other => FrameKind::Unknown(other),
        }
    }

    /// The first header of a name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The answer to this frame: the same frame with the time that it took and a code (resources,
    /// 5.3.7).
    #[must_use]
    pub fn answered(mut self, code: u16, took_ms: u128) -> Self {
        let took = ("biz_rt".to_owned(), took_ms.to_string());
        self.headers.push(took);
        self.payload = Some(format!("{{\"code\":{code}}}").into_bytes());
        self
    }

    /// Reads a frame. Fields that nobody knows are skipped; of a field that comes twice, the last
    /// one counts.
    ///
    /// # Errors
    /// The bytes are no frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() > LONGEST_FRAME {
            return Err(FrameError::TooLong);
        }
        let mut frame = Self::default();
        let (mut seq_id, mut log_id, mut service, mut method) = (None, None, None, None);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (field, value) = take_field(&mut rest)?;
            match field {
                1 => seq_id = Some(value.number(field)?),
                2 => log_id = Some(value.number(field)?),
                3 => service = Some(value.int32(field)?),
                4 => method = Some(value.int32(field)?),
                5 if frame.headers.len() == MOST_HEADERS => return Err(FrameError::TooManyHeaders),
                5 => frame.headers.push(header(value.bytes(field)?)?),
                6 => frame.payload_encoding = Some(value.text(field)?),
                7 => frame.payload_type = Some(value.text(field)?),
                8 => frame.payload = Some(value.bytes(field)?.to_vec()),
                9 => frame.log_id_new = Some(value.text(field)?),
                _ => {}
            }
        }
        frame.seq_id = seq_id.ok_or(FrameError::Missing("SeqID"))?;
        frame.log_id = log_id.ok_or(FrameError::Missing("LogID"))?;
        frame.service = service.ok_or(FrameError::Missing("service"))?;
        frame.method = method.ok_or(FrameError::Missing("method"))?;
        Ok(frame)
    }

    /// The bytes of the frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (field, number) in [
            (1, self.seq_id),
            (2, self.log_id),
            (3, sign_extended(self.service)),
            (4, sign_extended(self.method)),
        ] {
            put_varint(&mut out, field << 3);
            put_varint(&mut out, number);
        }
        for (key, value) in &self.headers {
            let mut header = Vec::new();
            put_bytes(&mut header, 1, key.as_bytes());
            put_bytes(&mut header, 2, value.as_bytes());
            put_bytes(&mut out, 5, &header);
        }
        let texts = [(6, &self.payload_encoding), (7, &self.payload_type)];
        for (field, text) in texts {
            if let Some(text) = text {
                put_bytes(&mut out, field, text.as_bytes());
            }
        }
        if let Some(payload) = &self.payload {
            put_bytes(&mut out, 8, payload);
        }
        if let Some(text) = &self.log_id_new {
            put_bytes(&mut out, 9, text.as_bytes());
        }
        out
    }
}

/// Key and value of a header, both of which are required.
fn header(mut bytes: &[u8]) -> Result<(String, String), FrameError> {
    let (mut key, mut text) = (None, None);
    while !bytes.is_empty() {
        let (field, value) = take_field(&mut bytes)?;
        match field {
            1 => key = Some(value.text(field)?),
            2 => text = Some(value.text(field)?),
            _ => {}
        }
    }
    let key = key.ok_or(FrameError::Missing("key"))?;
    Ok((key, text.ok_or(FrameError::Missing("value"))?))
}

/// A value on the wire.
enum WireValue<'b> {
    Number(u64),
    Bytes(&'b [u8]),
    /// Eight or four bytes that no field of ours has.
    Fixed,
}

impl<'b> WireValue<'b> {
    const fn number(&self, field: u64) -> Result<u64, FrameError> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Bytes(_) | Self::Fixed => Err(FrameError::OtherKind(field)),
        }
    }

    /// An int32 has ten bytes on the wire if it is negative; only its low half counts.
    #[allow(clippy::cast_possible_truncation, reason = "protobuf says so")]
    const fn int32(&self, field: u64) -> Result<i32, FrameError> {
        match self.number(field) {
            Ok(number) => Ok(number as u32 as i32),
            Err(error) => Err(error),
        }
    }

    const fn bytes(&self, field: u64) -> Result<&'b [u8], FrameError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Number(_) | Self::Fixed => Err(FrameError::OtherKind(field)),
        }
    }

    fn text(&self, field: u64) -> Result<String, FrameError> {
        let text = std::str::from_utf8(self.bytes(field)?);
        Ok(text.map_err(|_| FrameError::Text)?.to_owned())
    }
}

fn take_field<'b>(rest: &mut &'b [u8]) -> Result<(u64, WireValue<'b>), FrameError> {
    let tag = take_varint(rest)?;
    let value = match tag & 7 {
        0 => WireValue::Number(take_varint(rest)?),
        1 => take(rest, 8).map(|_| WireValue::Fixed)?,
        2 => {
            let length = usize::try_from(take_varint(rest)?).map_err(|_| FrameError::CutOff)?;
            WireValue::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| WireValue::Fixed)?,
        _ => return Err(FrameError::FieldKind),
    };
    match tag >> 3 {
        0 => Err(FrameError::FieldKind),
        field => Ok((field, value)),
    }
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Result<&'b [u8], FrameError> {
    let (taken, after) = rest.split_at_checked(length).ok_or(FrameError::CutOff)?;
    *rest = after;
    Ok(taken)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, FrameError> {
    let mut number = 0_u64;
    for (index, &byte) in rest.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has the last bit.
        if index > 9 || index == 9 && bits > 1 {
            return Err(FrameError::Overlong);
        }
        number |= bits << (7 * index);
        if byte < 0x80 {
            *rest = &rest[index + 1..];
            return Ok(number);
        }
    }
    Err(FrameError::CutOff)
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_varint(out, field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn sign_extended(number: i32) -> u64 {
    i64::from(number).cast_unsigned()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Vectors that the vendor's own classes made (resources, 5.4).
    pub(in crate::client::long_connection) const P1: &str =
        "0800100018f681801020002a0c0a0474797065120470696e67";
    pub(in crate::client::long_connection) const P2: &str = "0800100018f681801020002a0c0a04747970651204706f6e6742547b225265636f6e6e656374436f756e74223a2d312c225265636f6e6e656374496e74657276616c223a3132302c225265636f6e6e6563744e6f6e6365223a33302c2250696e67496e74657276616c223a3132307d";
    pub(in crate::client::long_connection) const P3: &str = "0801100718f681801020012a0d0a047479706512056576656e742a100a0a6d6573736167655f696412026d312a080a0373756d1201312a080a037365711201302a0e0a0874726163655f69641202743142727b22736368656d61223a22322e30222c22686561646572223a7b226576656e745f6964223a226531222c226576656e745f74797065223a2276632e726f6f6d2e64656c657465645f7631227d2c226576656e74223a7b22726f6f6d223a7b22726f6f6d5f6964223a226f6d6d5f31227d7d7d";
    pub(in crate::client::long_connection) const P4: &str = "0801100718f681801020012a0d0a047479706512056576656e742a100a0a6d6573736167655f696412026d312a080a0373756d1201312a080a037365711201302a0e0a0874726163655f6964120274312a0b0a0662697a5f7274120133420c7b22636f6465223a3230307d";
    pub(in crate::client::long_connection) const P5_0: &str = "0802100818f681801020012a0d0a047479706512056576656e742a100a0a6d6573736167655f696412026d322a080a0373756d1201322a080a037365711201302a0e0a0874726163655f696412027432423c7b22736368656d61223a22322e30222c22686561646572223a7b226576656e745f6964223a226531222c226576656e745f74797065223a2276632e72";
    pub(in crate::client::long_connection) const P5_1: &str = "0803100818f681801020012a0d0a047479706512056576656e742a100a0a6d6573736167655f696412026d322a080a0373756d1201322a080a037365711201312a0e0a0874726163655f69641202743242366f6f6d2e64656c657465645f7631227d2c226576656e74223a7b22726f6f6d223a7b22726f6f6d5f6964223a226f6d6d5f31227d7d7d";
    const P6: &str = "088080808080808080800110ffffffffffffffffff0118ffffffffffffffffff0120012a0d0a047479706512056576656e742a100a0a6d6573736167655f696412026d312a080a0373756d1201312a080a037365711201302a0e0a0874726163655f6964120274314200";

    pub(in crate::client::long_connection) const EVENT: &str = r#"{"schema":"2.0","header":{"event_id":"e1","event_type":"vc.room.deleted_v1"},"event":{"room":{"room_id":"omm_1"}}}"#;

    pub(in crate::client::long_connection) fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        let byte = |pair: &[u8]| {
            u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("hex")
        };
        digits.map(byte).collect()
    }

    pub(in crate::client::long_connection) fn frame(hex: &str) -> LinkFrame {
        LinkFrame::decode(&bytes(hex)).expect("a frame")
    }

    #[test]
    fn the_vendors_frames_are_read_and_written_byte_for_byte() {
        for (name, vector) in [
            ("P1", P1),
            ("P2", P2),
            ("P3", P3),
            ("P4", P4),
            ("P5.0", P5_0),
            ("P5.1", P5_1),
            ("P6", P6),
        ] {
            assert_eq!(frame(vector).encode(), bytes(vector), "{name}");
        }
        assert_eq!(LinkFrame::ping(33_554_678).encode(), bytes(P1));
        let event = frame(P3);
        assert_eq!(event.payload.as_deref(), Some(EVENT.as_bytes()));
        assert_eq!((event.seq_id, event.log_id), (1, 7));
        assert_eq!(event.kind(), FrameKind::Data);
        assert_eq!(event.answered(200, 3).encode(), bytes(P4));
        let extremes = frame(P6);
        assert_eq!(extremes.seq_id, 1 << 63);
        assert_eq!(extremes.log_id, u64::MAX);
        assert_eq!(extremes.service, -1);
        assert_eq!(extremes.payload.as_deref(), Some(&b""[..]));
    }

    #[test]
    fn what_is_no_frame_is_refused_by_name() {
        for (name, hex, error) in [
            ("nothing", "", FrameError::Missing("SeqID")),
            ("no method", "080010001800", FrameError::Missing("method")),
            ("zeros left out", "18f6818010", FrameError::Missing("SeqID")),
            ("a number without its end", "0880", FrameError::CutOff),
            (
                "eleven bytes",
                "0880808080808080808080800100",
                FrameError::Overlong,
            ),
            ("65 bits", "0880808080808080808002", FrameError::Overlong),
            (
                "a length beyond the end",
                "0800100018002000420aff",
                FrameError::CutOff,
            ),
            (
                "a length of 2^64-1",
                "080010001800200042ffffffffffffffffff01",
                FrameError::CutOff,
            ),
            ("a group", "0b", FrameError::FieldKind),
            ("field 0", "0000", FrameError::FieldKind),
            ("a text as SeqID", "0a00", FrameError::OtherKind(1)),
            (
                "a header without a value",
                "08001000180020002a030a0161",
                FrameError::Missing("value"),
            ),
            (
                "a header that is no text",
                "08001000180020002a060a01ff120161",
                FrameError::Text,
            ),
        ] {
            assert_eq!(LinkFrame::decode(&bytes(hex)), Err(error), "{name}");
        }
        let mut headers = LinkFrame::ping(1);
        headers.headers = vec![("k".to_owned(), "v".to_owned()); MOST_HEADERS + 1];
        let many = LinkFrame::decode(&headers.encode());
        assert_eq!(many, Err(FrameError::TooManyHeaders));
        let long = vec![0; LONGEST_FRAME + 1];
        assert_eq!(LinkFrame::decode(&long), Err(FrameError::TooLong));
    }

    #[test]
    fn fields_that_nobody_knows_are_skipped() {
        // A number, eight bytes, a text and four bytes, under numbers from 10 on.
        let unknown = "5001590102030405060708620141".to_owned() + "6d01020304";
        let with_more = LinkFrame::decode(&bytes(&(P1.to_owned() + &unknown)));
        assert_eq!(with_more, Ok(frame(P1)));
    }

    fn any_frame() -> impl Strategy<Value = LinkFrame> {
        let header = (".{0,12}", ".{0,12}");
        let texts = (any::<Option<String>>(), any::<Option<String>>());
        (
            (any::<u64>(), any::<u64>(), any::<i32>(), any::<i32>()),
            proptest::collection::vec(header, 0..6),
            (texts, any::<Option<String>>()),
            any::<Option<Vec<u8>>>(),
        )
            .prop_map(|(numbers, headers, texts, payload)| {
                let (seq_id, log_id, service, method) = numbers;
                let ((payload_encoding, payload_type), log_id_new) = texts;
                LinkFrame {
                    seq_id,
                    log_id,
                    service,
                    method,
                    headers,
                    payload_encoding,
                    payload_type,
                    payload,
                    log_id_new,
                }
            })
    }

    proptest! {
        #[test]
        fn every_frame_comes_back(frame in any_frame()) {
            prop_assert_eq!(LinkFrame::decode(&frame.encode()), Ok(frame));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>()) {
            let _ = LinkFrame::decode(&bytes);
        }

        #[test]
        fn a_frame_that_was_tampered_with_is_read_or_refused(
            frame in any_frame(), place in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()
        ) {
            let mut bytes = frame.encode();
            let at = place.index(bytes.len());
            bytes[at] = byte;
            let _ = LinkFrame::decode(&bytes);
            let _ = LinkFrame::decode(&bytes[..cut.index(bytes.len())]);
        }
    }
}
