//! The functions that `tests/fuzz/run` feeds with anything come back from their seeds, and from each seed cut and flipped.

use std::path::Path;

#[expect(unreachable_pub, reason = "the fuzzer's own package needs them public")]
#[path = "../fuzz/surface.rs"]
mod surface;

#[test]
fn every_fuzz_target_comes_back_from_its_seeds() {
    type Target = (&'static str, fn(&[u8]));
    let targets: [Target; 5] = [
        ("container", surface::container),
        ("sheet", surface::sheet),
        ("cell_text", surface::cell_text),
        ("job_file", surface::job_file),
        ("envelope", surface::envelope),
    ];
    for (name, target) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz/seeds")
            .join(name);
        let seeds: Vec<_> = std::fs::read_dir(&folder).expect(name).collect();
        assert!(!seeds.is_empty(), "{name} has seeds");
        for seed in seeds {
            let bytes = std::fs::read(seed.expect("a seed").path()).expect("a file");
            target(&bytes);
            let step = (bytes.len() / 40).max(1);
            for at in (0..bytes.len()).step_by(step) {
                target(&bytes[..at]);
                let mut flipped = bytes.clone();
                flipped[at] ^= 0x11;
                target(&flipped);
            }
        }
    }
}
