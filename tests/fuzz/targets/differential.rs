#![no_main]

#[path = "../surface.rs"]
mod surface;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    surface::differential(bytes);
});
