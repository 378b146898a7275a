//! The functions that `tests/fuzz/run` feeds with anything come back from their seeds, and from each seed cut and flipped.

use std::path::Path;

#[expect(unreachable_pub, reason = "the fuzzer's own package needs them public")]
#[path = "../fuzz/surface.rs"]
mod surface;

type Target = fn(&[u8]);

#[test]
fn every_fuzz_target_comes_back_from_its_seeds() {
    let targets: [(&str, Target); 6] = [
        ("container", surface::container),
        ("sheet", surface::sheet),
        ("differential", |bytes| {
            surface::differential(bytes);
        }),
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

/// What the fast reader leaves alone compares nothing.
#[test]
fn every_seed_of_the_differential_target_is_read_by_the_fast_reader() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/differential");
    for seed in std::fs::read_dir(folder).expect("the seeds") {
        let path = seed.expect("a seed").path();
        let bytes = std::fs::read(&path).expect("a file");
        assert!(surface::differential(&bytes), "{}", path.display());
    }
}
