//! Truncated and mutated files against a parser: no panic, no allocation by the header's word, no hanging, and whatever is
//! accepted is right.
//!
//! Deterministic: input `i` of a parser depends on nothing but `i` and the seeds. `THALWEG_FUZZ=1000000` sets the number
//! of inputs a parser (20,000 without it). An input that finds something is written to `tests/corpus/PARSER/`; commit
//! it there, as every run starts with those.
//!
//! To add a parser: write a function that returns a [`Parser`], and a test that calls [`check`] on it.

use crate::allocator::peak;
use crate::common::{Rng, gzip};
use flate2::read::GzDecoder;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const MAX_MEMORY: usize = 64 << 20;

/// Parsing takes microseconds; this much is left for a machine that is busy with other things.
const MAX_SECONDS: u64 = 60;

pub struct Parser {
    /// Names its folder under `tests/corpus/`.
    pub name: &'static str,
    /// Valid inputs, to be mutated.
    pub seeds: Vec<Vec<u8>>,
    /// Pieces of text that mean something in the format.
    pub tokens: &'static [&'static str],
    /// Sets lengths and the like right after a mutation, so that it gets past the first check.
    pub repair: fn(&mut Vec<u8>),
    /// Whether the parser also takes gzipped input.
    pub gzip: bool,
    /// Parses, and asserts that what was accepted is right. Returns whether it was.
    pub parse: fn(&[u8]) -> bool,
    /// Makes an input from nothing, in place of one mutation in four.
    pub invent: Option<fn(&mut Rng) -> Vec<u8>>,
}

/// Replays the corpus, runs every seed cut off at every length, then as many mutated inputs as `THALWEG_FUZZ` says.
pub fn check(parser: &Parser) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(parser.name);
    for entry in std::fs::read_dir(&folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if let Err(what) = run(parser, &std::fs::read(&path).unwrap()) {
            panic!("{}: {what}", path.display());
        }
    }
    for seed in &parser.seeds {
        assert_eq!(run(parser, seed), Ok(true), "a seed of {} must be accepted", parser.name);
        for length in 0..seed.len() {
            if let Err(what) = run(parser, &seed[..length]) {
                panic!("{}: the first {length} bytes of {:?}: {what}", parser.name, head(seed));
            }
        }
    }
    let n: u64 = match std::env::var("THALWEG_FUZZ") {
        Ok(text) => text.parse().expect("THALWEG_FUZZ must be a number of inputs"),
        Err(_) => 20_000,
    };
    match fuzz(parser, n) {
        Ok(accepted) => {
            println!("{}: {n} inputs, {accepted} accepted, {} refused", parser.name, n - accepted);
            assert!(
                (n / 100..n * 3 / 4).contains(&accepted),
                "{accepted} of {n} accepted: the mutations are no good"
            );
        }
        Err(found) => {
            let path: PathBuf = folder.join(format!("{:06}", found.input_ix));
            std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, &found.input)).unwrap();
            panic!("input {} of {}, kept as {}: {}", found.input_ix, parser.name, path.display(), found.what);
        }
    }
}

/// What tells an input from another in a message.
fn head(input: &[u8]) -> String {
    String::from_utf8_lossy(&input[..input.len().min(40)]).into_owned()
}

#[derive(Debug)]
pub struct Found {
    pub input_ix: u64,
    pub input: Vec<u8>,
    pub what: String,
}

/// Returns how many of `n` inputs were accepted, or the first that found something.
pub fn fuzz(parser: &Parser, n: u64) -> Result<u64, Found> {
    let mut accepted = 0;
    for input_ix in 0..n {
        let input = mutated(parser, &mut Rng(input_ix.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        match run(parser, &input) {
            Ok(ok) => accepted += u64::from(ok),
            Err(what) => return Err(Found { input_ix, input, what }),
        }
    }
    Ok(accepted)
}

/// Whether the input was accepted, or what went wrong.
fn run(parser: &Parser, input: &[u8]) -> Result<bool, String> {
    let start = std::time::Instant::now();
    let (result, took) = peak(|| catch_unwind(AssertUnwindSafe(|| (parser.parse)(input))));
    match result {
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err(text.or(panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap_or("panicked".into()))
        }
        Ok(_) if took > MAX_MEMORY => {
            Err(format!("{} bytes of input took {took} bytes of memory", input.len()))
        }
        Ok(_) if start.elapsed().as_secs() >= MAX_SECONDS => Err(format!("took {:?}", start.elapsed())),
        Ok(accepted) => Ok(accepted),
    }
}

#[rustfmt::skip]
const NUMBERS: &[u64] = &[
    0, 1, 2, 3, 4, 7, 16, 28, 64, 127, 128, 255, 256, 784, 32_767, 65_535, 65_536, 1 << 24, 0x7fff_ffff, 0x8000_0000,
    0xffff_ffff, 1 << 32, 1 << 40, 0x7fc0_0000, 0x7f80_0000, (1 << 62) + 1, i64::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX,
];

fn mutated(parser: &Parser, rng: &mut Rng) -> Vec<u8> {
    let pick_seed = |rng: &mut Rng| &parser.seeds[rng.below(parser.seeds.len())];
    if let Some(invent) = parser.invent.filter(|_| rng.one_in(4)) {
        return invent(rng);
    }
    let mut bytes = pick_seed(rng).clone();
    // Packed seeds are also mutated as what they hold.
    let mut unpacked = Vec::new();
    if parser.gzip
        && !rng.one_in(4)
        && std::io::Read::read_to_end(&mut GzDecoder::new(&bytes[..]), &mut unpacked).is_ok()
    {
        bytes = unpacked;
    }
    for _ in 0..rng.pick(&[0, 1, 1, 1, 2, 2, 3, 5]) {
        mutate(&mut bytes, pick_seed(rng), parser.tokens, rng);
    }
    if !rng.one_in(3) {
        (parser.repair)(&mut bytes);
    }
    if parser.gzip && rng.one_in(4) {
        bytes = gzip(&bytes);
        if rng.one_in(3) {
            mutate(&mut bytes, pick_seed(rng), parser.tokens, rng);
        }
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, other: &[u8], tokens: &[&str], rng: &mut Rng) {
    // Half of all places are in the first 128 bytes, where headers are.
    let len = bytes.len();
    let place = |rng: &mut Rng| if rng.one_in(2) { rng.below(len.min(128)) } else { rng.below(len) };
    let at = place(rng);
    let end = (at + 1 + rng.below(32)).min(len);
    match rng.below(11) {
        0 if len > 0 => bytes[at] ^= 1 << rng.below(8),
        1 if len > 0 => bytes[at] = rng.next() as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let copy = bytes[at..end].to_vec();
            let to = place(rng);
            bytes.splice(to..to, copy);
        }
        5 => bytes.extend((0..1 + rng.below(8)).map(|_| rng.next() as u8).collect::<Vec<_>>()),
        6 => {
            // Splice: the start of this one, the end of another.
            bytes.truncate(at);
            bytes.extend(&other[rng.below(other.len())..]);
        }
        // Numbers over what is there, of 1 to 8 bytes, of either byte order, often where a u32 would be.
        7 | 8 => {
            let size = rng.pick(&[1, 2, 4, 4, 8]);
            let at = if rng.one_in(2) { at } else { at & !3 };
            let number = rng.pick(NUMBERS).to_le_bytes();
            let (mut number, n) = (number[..size].to_vec(), size.min(len.saturating_sub(at)));
            if rng.one_in(2) {
                number.reverse();
            }
            bytes[at.min(len)..][..n].copy_from_slice(&number[..n]);
        }
        // Numbers in text.
        9 => {
            let starts: Vec<usize> = (0..len.min(4096))
                .filter(|&i| bytes[i].is_ascii_digit() && (i == 0 || !bytes[i - 1].is_ascii_digit()))
                .collect();
            if !starts.is_empty() {
                let start = rng.pick(&starts);
                let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let number = rng.pick(NUMBERS).to_string();
                bytes.splice(start..start + digits, number.into_bytes());
            }
        }
        _ if !tokens.is_empty() => {
            let repeats = rng.pick(&[1, 1, 1, 2, 50, 2000]);
            let until = if rng.one_in(2) { at } else { end };
            bytes.splice(at..until, rng.pick(tokens).repeat(repeats).into_bytes());
        }
        _ => {}
    }
}
