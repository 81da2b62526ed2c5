//! Feeds targets without a fuzzer: seeds, inputs that once failed, and mutations of both. A run is
//! its seed.
//!
//! `VLTAVA_FUZZ_ROUNDS` sets the mutations of each target (default 2,000), `VLTAVA_FUZZ_SEED` the
//! seed (default 1), `VLTAVA_FUZZ_CORPUS` a directory into which the seeds are written, as the
//! fuzzers want them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Bytes of an input at most.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// What limits one run.
pub struct Limits {
    /// The most memory that was ever taken, in bytes.
    pub allocated_max: fn() -> usize,
    /// What that may be.
    pub bytes: usize,
}

/// Feeds one target; `regressions` is the folder of the inputs that once failed, by target.
///
/// # Panics
/// When the target does, or takes too much memory; the message has the input.
pub fn feed(
    name: &str,
    run: impl Fn(&[u8]),
    seeds: &[Vec<u8>],
    regressions: &Path,
    limits: &Limits,
) {
    let mut corpus = seeds.to_vec();
    if let Ok(files) = std::fs::read_dir(regressions.join(name)) {
        let read = |file: std::io::Result<std::fs::DirEntry>| std::fs::read(file.ok()?.path()).ok();
        corpus.extend(files.filter_map(read));
    }
    if let Some(directory) = std::env::var_os("VLTAVA_FUZZ_CORPUS") {
        write_corpus(&Path::new(&directory).join(name), &corpus);
    }
    corpus.push(Vec::new());
    for input in &corpus {
        try_one(name, &run, input, limits);
    }
    let seed = number("VLTAVA_FUZZ_SEED", 1);
    let mut random = Random::new(seed, name);
    for _ in 0..number("VLTAVA_FUZZ_ROUNDS", 2_000) {
        let input = random.mutation(&corpus);
        try_one(name, &run, &input, limits);
    }
}

fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value.map_or(default, |text| text.parse().expect("a number"))
}

fn write_corpus(directory: &Path, corpus: &[Vec<u8>]) {
    std::fs::create_dir_all(directory).expect("the corpus can be written");
    for (i, input) in corpus.iter().enumerate() {
        std::fs::write(directory.join(format!("seed-{i}")), input).expect("written");
    }
}

fn try_one(name: &str, run: &impl Fn(&[u8]), input: &[u8], limits: &Limits) {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(input)));
    let allocated = (limits.allocated_max)();
    if outcome.is_ok() && allocated <= limits.bytes {
        return;
    }
    let file = std::env::temp_dir().join(format!("vltava-hostile-{name}"));
    let kept = std::fs::write(&file, input)
        .map_or_else(|e| e.to_string(), |()| file.display().to_string());
    let what = match outcome {
        Err(_) => "panicked".to_owned(),
        Ok(()) => format!("took {allocated} bytes, more than {}", limits.bytes),
    };
    panic!("{name} {what}; its input is in {kept}");
}

/// A small generator of random numbers: a run is its seed.
struct Random(u64);

impl Random {
    fn new(seed: u64, name: &str) -> Random {
        let salt = name.bytes().fold(seed, |hash, byte| {
            hash.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
        });
        Random(salt | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// One of the corpus with some changes.
    fn mutation(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input, corpus);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len());
        match self.below(10) {
            _ if input.is_empty() => input.extend(self.next().to_le_bytes()),
            0 => input[at] ^= 1 << self.below(8),
            1 => input[at] = self.next() as u8,
            2 => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            3 => input.truncate(at),
            4 => {
                let tail = self.next().to_le_bytes();
                input.extend(&tail[..self.below(8)]);
            }
            5 => {
                let copy = input[at..(at + self.below(32)).min(input.len())].to_vec();
                input.splice(at..at, copy);
            }
            6 => {
                input.drain(at..(at + self.below(8)).min(input.len()));
            }
            7 => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len());
                input.truncate(at);
                input.extend(&other[from..]);
            }
            // Lengths and counts of 16, 32 and 64 bits, in either order of bytes.
            8 => {
                let width = 2 << self.below(3);
                self.overwrite(input, at, width);
            }
            // A varint of a large number.
            _ => {
                let length = 1 + self.below(9);
                for byte in input.iter_mut().skip(at).take(length) {
                    *byte = 0xff;
                }
                if let Some(byte) = input.get_mut(at + length) {
                    *byte = 0x0f;
                }
            }
        }
    }

    fn overwrite(&mut self, input: &mut [u8], at: usize, width: usize) {
        let number: i64 = [
            -1,
            0,
            1,
            0x7fff,
            0x7fff_ffff,
            i64::MAX,
            i64::MIN,
            1 << 20,
            1 << 28,
        ][self.below(9)];
        let mut bytes = number.to_le_bytes();
        if self.below(2) == 0 {
            bytes[..width].reverse();
        }
        if let Some(place) = input.get_mut(at..at + width) {
            place.copy_from_slice(&bytes[..width]);
        }
    }
}
