//! Truncated and mutated files against the parsers: no panic, no allocation by the header's word, no hanging, and whatever is accepted is right.
//!
//! Deterministic: input `i` of a parser depends on nothing but `i` and the seeds. `THALWEG_FUZZ=1000000` sets the number
//! of inputs a parser (20,000 without it). An input that finds something is written to `tests/corpus/PARSER/`; commit
//! it there, as every run starts with those.
//!
//! To add a parser: write a function that returns a [`Parser`], and a test that calls [`check`] on it.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::allocator::peak;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use thalweg::data::reading::{Reading, Takes};
use thalweg::data::{Examples, cifar, idx, npy, npz, picture_file, rows};
use thalweg::recipe::Range;
use thalweg::source::Source;

const MAX_MEMORY: usize = 64 << 20;
/// Parsing takes microseconds; this much is left for a machine that is busy with other things.
const MAX_SECONDS: u64 = 60;

// ---- the harness

struct Parser {
    /// Names its folder under `tests/corpus/`.
    name: &'static str,
    /// Valid inputs, to be mutated.
    seeds: Vec<Vec<u8>>,
    /// Pieces of text that mean something in the format.
    tokens: &'static [&'static str],
    /// Sets lengths and the like right after a mutation, so that it gets past the first check.
    repair: fn(&mut Vec<u8>),
    /// Whether the parser also takes gzipped input.
    gzip: bool,
    /// Parses, and asserts that what was accepted is right. Returns whether it was.
    parse: fn(&[u8]) -> bool,
}

/// Replays the corpus, runs every seed cut off at every length, then as many mutated inputs as `THALWEG_FUZZ` says.
fn check(parser: &Parser) {
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
struct Found {
    input_ix: u64,
    input: Vec<u8>,
    what: String,
}

/// Returns how many of `n` inputs were accepted, or the first that found something.
fn fuzz(parser: &Parser, n: u64) -> Result<u64, Found> {
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

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`, or 0 if there is nothing in that.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

#[rustfmt::skip]
const NUMBERS: &[u64] = &[
    0, 1, 2, 3, 4, 7, 16, 28, 64, 127, 128, 255, 256, 784, 32_767, 65_535, 65_536, 1 << 24, 0x7fff_ffff, 0x8000_0000,
    0xffff_ffff, 1 << 32, 1 << 40, 0x7fc0_0000, 0x7f80_0000, (1 << 62) + 1, i64::MAX as u64, 1 << 63, u64::MAX - 1, u64::MAX,
];

fn mutated(parser: &Parser, rng: &mut Rng) -> Vec<u8> {
    let pick_seed = |rng: &mut Rng| &parser.seeds[rng.below(parser.seeds.len())];
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
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(rng.pick(&[0, 1])));
        encoder.write_all(&bytes).unwrap();
        bytes = encoder.finish().unwrap();
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

// ---- the parsers

/// Bytes `0..n` behind a header.
fn idx_file(dims: &[u32]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|dim| file.extend(dim.to_be_bytes()));
    file.extend((0..dims.iter().product()).map(|i: u32| i as u8));
    file
}

fn idx_parser() -> Parser {
    let gzip = |bytes: &[u8], level| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let plain = [
        idx_file(&[2, 3, 5]),
        idx_file(&[1, 28, 28]),
        idx_file(&[7]),
        idx_file(&[300]),
        idx_file(&[2, 3, 5, 3]),
        // 16-bit integers: bytes stand as 0, byte.
        [&[0, 0, 11, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3][..], &[0, 9].repeat(6)].concat(),
    ];
    let zeros =
        [idx_file(&[1, 1, 1])[..4].to_vec(), vec![0, 0, 0, 20, 0, 0, 1, 0, 0, 0, 1, 0], vec![0; 20 << 16]]
            .concat();
    let mut seeds: Vec<_> =
        plain.iter().flat_map(|file| [file.clone(), gzip(file, 0), gzip(file, 9)]).collect();
    seeds.push(gzip(&zeros, 9)); // a small bomb: 1.3 kB to 1.3 MB
    Parser { name: "idx", seeds, tokens: &[], repair: repair_idx, gzip: true, parse: parse_idx }
}

/// Makes the first dimension fit the length.
fn repair_idx(bytes: &mut Vec<u8>) {
    let rank = bytes.get(3).map_or(0, |&rank| usize::from(rank));
    let header = 4 + 4 * rank;
    if (1..=4).contains(&rank) && bytes.len() > header {
        let item: u64 = bytes[8..header]
            .chunks_exact(4)
            .map(|b| u64::from(u32::from_be_bytes([b[0], b[1], b[2], b[3]])))
            .fold(1, u64::saturating_mul);
        let count = (bytes.len() - header) as u64 / item.max(1);
        bytes[4..8].copy_from_slice(&(count as u32).to_be_bytes());
        bytes.truncate((header as u64 + count * item).max(header as u64) as usize);
    }
}

fn parse_idx(input: &[u8]) -> bool {
    let path = Path::new("fuzzed.idx");
    let images = refused_as_file(idx::parse_images(path, input));
    let labels = refused_as_file(idx::parse_labels(path, input));
    assert!(images.is_none() || labels.is_none(), "both images and labels");
    let raw = || Source::of_bytes(path, input.to_vec(), 1 << 30).unwrap().read_all().unwrap();
    if let Some(images) = images.as_ref().filter(|_| raw()[..4] != [0, 0, 8, 3]) {
        // In colour, or of another type of elements.
        let [kind, rank] = [raw()[2], raw()[3]];
        let size = match kind {
            8 | 9 => 1,
            0xb => 2,
            0xc | 0xd => 4,
            _ => 8,
        };
        assert_eq!(raw().len(), 4 + 4 * usize::from(rank) + size * images.bytes.len(), "kind {kind}");
    } else if let Some(images) = &images {
        let raw = raw();
        let dims = [images.count(), images.shape.height, images.shape.width];
        assert!(images.shape.channels == 1 && !dims.contains(&0), "{dims:?}");
        let header: Vec<u8> = dims.iter().flat_map(|&dim| (dim as u32).to_be_bytes()).collect();
        assert!(
            raw[..4] == [0, 0, 8, 3] && raw[4..16] == header && raw[16..] == images.bytes,
            "other content"
        );
    }
    if let Some(labels) = &labels {
        let raw = raw();
        assert!(
            raw[4..8] == (labels.len() as u32).to_be_bytes() && raw[8..] == *labels && !labels.is_empty()
        );
    }
    images.is_some() || labels.is_some()
}

fn npy_file(descr: &str, shape: &str, bytes: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\0", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), bytes].concat()
}

fn npy_parser() -> Parser {
    let values: Vec<f32> = (0..24).map(|i| i as f32 / 12.0 - 1.0).collect();
    let le: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let be: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
    let mut version_2 = npy_file("'<f4'", "(1, 1, 1)", &[0; 4]);
    version_2[6] = 2;
    version_2.splice(10..10, [0, 0]);
    Parser {
        name: "npy",
        seeds: vec![
            npy_file("'<f4'", "(2, 1, 3, 4)", &le),
            npy_file("'>f4'", "(2, 3, 4)", &be),
            npy_file("'|u1'", "(8, 3, 2, 2)", &le),
            npy_file("'|u1'", "(1, 1, 1)", &[255]),
            version_2,
            npy_file("'<i2'", "(2L, 3L, 4L)", &(0..24_i16).flat_map(i16::to_le_bytes).collect::<Vec<_>>()),
            npy_file("'|b1'", "(2, 3, 4)", &[1, 0].repeat(12)),
            npy_file("'<f2'", "(2, 2, 2, 3)", &[0, 60].repeat(24)),
        ],
        #[rustfmt::skip]
        tokens: &[
            "'", "\"", "(", ")", "[", "]", "{", "}", ",", ":", "-", "+", "0x", "1e9", "1j", "_", "\\", "\\x", "\\N{", "\\u", "b'", "\n",
            "None", "True", "False", "12L", "'<f2'", "'<i8'", "'>u2'", "'|b1'", "'|i1'", "'<c8'", "'descr'", "'shape'", "'fortran_order'", "'<f4'", "'>f4'", "'|u1'", "'<u1'", "'<f8'", "'|O'",
            "'<U9'", "'<m8[ns]'", "(3, 1, 1)", "()", "(0, 1, 1)", "\u{e9}", "\u{1f600}",
        ],
        repair: repair_npy,
        gzip: false,
        parse: parse_npy,
    }
}

/// Makes the header's length fit the header: up to the first newline.
#[expect(clippy::ptr_arg, reason = "the type of every parser's `repair`")]
fn repair_npy(bytes: &mut Vec<u8>) {
    let start = if bytes.get(6) == Some(&1) { 10 } else { 12 };
    if let Some(end) = bytes.iter().skip(start).position(|&byte| byte == b'\n') {
        let length = (end as u32 + 1).to_le_bytes();
        bytes[8..start].copy_from_slice(&length[..start - 8]);
    }
}

fn parse_npy(input: &[u8]) -> bool {
    let reading = Reading { takes: Takes::Images, range: Range::Signed, ..Reading::default() };
    let parsed = npy::parse(Path::new("fuzzed.npy"), input, Some(input.len() as u64), &reading);
    let Some(found) = refused_as_file(parsed) else { return false };
    let (dims, mut values, fortran) = numbers_of(input);
    let (shape, count) = (found.examples.shape(), found.examples.count());
    let read: Vec<f64> = match found.examples {
        Examples::Bytes(images) => images.bytes.iter().map(|byte| f64::from(*byte)).collect(),
        Examples::Floats(images) => {
            assert!(images.values.iter().all(|v| v.is_finite() && v.abs() <= 1.001));
            images.values.iter().map(|v| f64::from(*v)).collect()
        }
        Examples::Toy(..) => unreachable!("a file"),
    };
    assert_eq!(read.len(), count * shape.len());
    assert!(count > 0 && !shape.is_empty() && shape.channels <= 4);
    let full = [count, shape.channels, shape.height, shape.width];
    let last = [count, shape.height, shape.width, shape.channels];
    assert!(
        dims == full || dims == last || dims == [count, shape.height, shape.width],
        "{dims:?} read as {full:?}"
    );
    if !fortran && dims != last {
        if values.iter().all(|v| matches!(v, 0.0 | 1.0)) && read.contains(&255.0) {
            values.iter_mut().for_each(|v| *v *= 255.0);
        }
        assert_eq!(read, values, "other content");
    }
    true
}

/// Shape and elements, as npyz reads them, and whether they are in Fortran order; Python 2's long numbers apart.
fn numbers_of(input: &[u8]) -> (Vec<usize>, Vec<f64>, bool) {
    let mut input = input.to_vec();
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    for ix in 11..end {
        if input[ix] == b'L' && input[ix - 1].is_ascii_digit() {
            input[ix] = b' ';
        }
    }
    let file = npyz::NpyFile::new(&input[..]).unwrap();
    let dims: Vec<usize> = file.shape().iter().map(|&dim| dim as usize).collect();
    let fortran = file.order() == npyz::Order::Fortran;
    let descr = file.dtype().descr();
    let descr = descr.trim_matches('\'').trim_start_matches(['<', '>', '|', '=']).to_owned();
    macro_rules! wide {
        ($type:ty) => {
            file.into_vec::<$type>().unwrap().into_iter().map(|v| v as f64).collect()
        };
    }
    let values = match &descr[..] {
        "u1" => wide!(u8),
        "i1" => wide!(i8),
        "u2" => wide!(u16),
        "i2" => wide!(i16),
        "u4" => wide!(u32),
        "i4" => wide!(i32),
        "u8" => wide!(u64),
        "i8" => wide!(i64),
        "f4" => wide!(f32),
        "f8" => wide!(f64),
        // NumPy writes 0 and 1, and takes whatever is not 0 for true.
        "b1" => input[input.len() - dims.iter().product::<usize>()..]
            .iter()
            .map(|byte| f64::from(u8::from(*byte != 0)))
            .collect(),
        // npyz has no half precision without a feature; its bits are tested elsewhere.
        _ => vec![],
    };
    (dims, values, fortran)
}

fn npy_examples_parser() -> Parser {
    let values: Vec<f32> = (0..24).map(|i| i as f32 * 7.0 - 80.0).collect();
    let le: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let wide: Vec<u8> = values.iter().flat_map(|v| f64::from(*v).to_be_bytes()).collect();
    Parser {
        name: "npy-examples",
        seeds: vec![
            npy_file("'<f4'", "(12, 2)", &le),
            npy_file("'<f4'", "(2, 4, 3)", &le),
            npy_file("'>f8'", "(4, 3, 2)", &wide),
            npy_file("'>f8'", "(24, 1)", &wide),
            npy_file("'|u1'", "(4, 2, 3)", &le[..24]),
            npy_file("'<i8'", "(4L, 3L)", &le),
        ],
        parse: parse_npy_examples,
        ..npy_parser()
    }
}

fn parse_npy_examples(input: &[u8]) -> bool {
    let parsed = npy::parse(Path::new("fuzzed.npy"), input, None, &Reading::default());
    let Some(found) = refused_as_file(parsed) else { return false };
    let (dims, values, fortran) = numbers_of(input);
    let points = match found.examples {
        Examples::Floats(points) if points.shape.is_single_row() && dims.len() < 4 && !fortran => points,
        images => return images.count() == dims[0],
    };
    let (count, time, d) = (dims[0], if dims.len() == 3 { dims[1] } else { 1 }, dims[dims.len() - 1]);
    assert_eq!((points.count(), points.shape.channels, points.shape.width), (count, d, time), "{dims:?}");
    let values = values.into_iter().map(|v| v as f32);
    for (i, value) in values.enumerate() {
        let (n, time_ix, feature) = (i / (time * d), i / d % time, i % d);
        assert_eq!(points.values[(n * d + feature) * time + time_ix].to_bits(), value.to_bits());
        assert!(value.is_finite());
    }
    true
}

fn csv_parser() -> Parser {
    let texts = [
        "1,2.5\n-3e1,4\n5,6\n",
        "x, y\r\n1, 2.5\r\n\r\n -30 ,4\r\n5,6",
        "\u{feff}1,2.5\n-30,\"4\"\n5,6\n",
        "\u{feff}\"a, b\",c\n1,2.5\n-30,4\n5,6\n",
        "7\n8\n9\n10\n",
        "a,b,c\n\n0.1,0.2,0.3\n\n\n1e-9,.5,-0\n",
        "x;y\n1,5;2\n-3;4,25\n",
        "# one\n# two\n1.5 2.5\n  3.5   4\n",
        ",x,y\r0,1.5,2\r1,3,4\r",
        "0,1\n0.5,1.5\n2.5,3.5\n",
        "x\ty\t\n1\t2\t\n3\t4\t\n",
    ];
    Parser {
        name: "csv",
        seeds: texts.map(|text| text.as_bytes().to_vec()).to_vec(),
        #[rustfmt::skip]
        tokens: &[
            ",", "\n", "\r\n", "\r", "\n\n", "\"", "\"\"", "'", ";", "\t", " ", "1", "2.5", "-30", ".5", "1e99", "1e-99", "nan", "inf", "-inf",
            "infinity", "-", "+", "e", "0x10", "1_000", "1.2.3", "x", "\u{feff}", "\u{a0}", "\u{661}", "\0", ",\n", "1,2\n", "1,2,3\n", "x,y\n",
        ],
        repair: |_| (),
        gzip: false,
        parse: parse_csv,
    }
}

fn parse_csv(input: &[u8]) -> bool {
    let parsed = rows::parse_csv(Path::new("fuzzed.csv"), input);
    let message = parsed.as_ref().err().map(ToString::to_string);
    let Some(found) = refused_as_file(parsed) else {
        let message = message.unwrap();
        let is_empty = message.contains("no rows of numbers");
        assert!(is_empty || message.contains(": line ") || message.contains(": row "), "no line: {message}");
        // Plain rows of numbers are never refused.
        assert!(plain_rows(input).is_none(), "good rows are accepted: {message}");
        return false;
    };
    let Examples::Floats(points) = found.examples else { panic!("points") };
    assert!(points.count() > 0 && points.values.len() == points.count() * points.shape.channels);
    assert!(points.values.iter().all(|v| v.is_finite()));
    assert!(found.columns.is_empty() || found.columns.len() == points.shape.channels, "{:?}", found.columns);
    if let Some((columns, values)) = plain_rows(input)
        && found.notes.is_empty()
    {
        assert_eq!((points.shape.channels, &points.values), (columns, &values));
    }
    true
}

/// Columns and numbers, of a text that has nothing but numbers in rows of one length, separated by commas.
fn plain_rows(input: &[u8]) -> Option<(usize, Vec<f32>)> {
    let text = std::str::from_utf8(input).ok()?;
    let (mut columns, mut values) = (None, Vec::new());
    for line in text.split(['\r', '\n']).filter(|line| !line.is_empty()) {
        let cells: Option<Vec<f32>> =
            line.split(',').map(|cell| cell.trim_matches(' ').parse().ok()).collect();
        let cells = cells.filter(|cells| cells.iter().all(|v| v.is_finite()))?;
        if *columns.get_or_insert(cells.len()) != cells.len() {
            return None;
        }
        values.extend(cells);
    }
    Some((columns?, values))
}

fn npz_parser() -> Parser {
    let packed = |arrays: &[(&str, Vec<u8>)]| {
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (ix, (name, bytes)) in arrays.iter().enumerate() {
            let method = [zip::CompressionMethod::Stored, zip::CompressionMethod::Deflated][ix % 2];
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            writer.start_file(*name, options).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    };
    let pixels = npy_file("'|u1'", "(2, 3, 4)", &[7; 24]);
    let points = npy_file("'<f4'", "(3, 2)", &[0; 24]);
    let labels = npy_file("'<i8'", "(2,)", &[1; 16]);
    Parser {
        name: "npz",
        seeds: vec![
            packed(&[
                ("x_train.npy", pixels.clone()),
                ("y_train.npy", labels.clone()),
                ("x_test.npy", pixels.clone()),
            ]),
            packed(&[("arr_0.npy", points.clone())]),
            packed(&[("data.npy", pixels), ("labels.npy", labels)]),
        ],
        tokens: &["x_train", "x_test", ".npy", "PK\x03\x04", "PK\x01\x02", "PK\x05\x06"],
        repair: |_| (),
        gzip: false,
        parse: parse_npz,
    }
}

fn parse_npz(input: &[u8]) -> bool {
    let source = std::io::Cursor::new(input);
    let parsed = npz::parse(Path::new("fuzzed.npz"), source, None, npz::Wanted::Both, &Reading::default());
    let Some((train, held_out)) = refused_as_file(parsed) else { return false };
    for found in [Some(train), held_out].into_iter().flatten() {
        let (count, shape) = (found.examples.count(), found.examples.shape());
        assert!(count > 0 && found.examples.to_images().values.len() == count * shape.len());
    }
    true
}

const RECORD: usize = 3073;

fn cifar_parser() -> Parser {
    let batch = |labels: &[u8]| -> Vec<u8> {
        let record =
            |label: &u8| [&[*label][..], &(0..3072).map(|i| (i % 251) as u8).collect::<Vec<_>>()].concat();
        labels.iter().flat_map(record).collect()
    };
    let seeds = vec![batch(&[0]), batch(&[9, 3]), batch(&[1, 2, 4])];
    Parser { name: "cifar", seeds, tokens: &[], repair: repair_cifar, gzip: false, parse: parse_cifar }
}

/// Makes it whole records, and most often the labels good ones.
fn repair_cifar(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().div_ceil(RECORD) * RECORD, 0);
    if bytes.get(1) != Some(&0) {
        bytes.iter_mut().step_by(RECORD).for_each(|label| *label %= 10);
    }
}

fn parse_cifar(input: &[u8]) -> bool {
    let parsed = cifar::parse_images(Path::new("fuzzed.bin"), input);
    let message = parsed.as_ref().err().map_or(String::new(), ToString::to_string);
    let images = refused_as_file(parsed);
    let bad = input.iter().step_by(RECORD).position(|label| *label > 9);
    let is_whole = !input.is_empty() && input.len().is_multiple_of(RECORD);
    // CIFAR-100's records have two labels.
    let is_of_100 = !input.is_empty()
        && input.len().is_multiple_of(RECORD + 1)
        && input.chunks(RECORD + 1).all(|record| record[0] < 20 && record[1] < 100);
    assert_eq!(images.is_some(), (is_whole && bad.is_none()) || is_of_100, "{message}");
    if is_of_100 {
        return true;
    }
    match (images, bad) {
        (Some(images), _) => {
            let raw: Vec<u8> = input.chunks(RECORD).flat_map(|record| &record[1..]).copied().collect();
            assert!(images.bytes == raw && images.shape == cifar::SHAPE, "other content");
            return true;
        }
        (None, Some(bad)) if is_whole => {
            assert!(message.contains(&format!("at offset {}", bad * RECORD)), "{message}");
        }
        _ => assert!(message.contains(&format!("is {} bytes long", input.len())), "{message}"),
    }
    false
}

fn picture_parser() -> Parser {
    use image::{DynamicImage, ImageFormat};
    let grey = image::GrayImage::from_fn(7, 5, |x, y| image::Luma([(x * 30 + y) as u8]));
    let colour =
        image::RgbaImage::from_fn(4, 6, |x, y| image::Rgba([x as u8 * 60, y as u8 * 40, 9, 255 - x as u8]));
    let deep = image::ImageBuffer::from_fn(5, 3, |x, y| image::Luma([(x * 9000 + y * 700) as u16]));
    let pictures =
        [DynamicImage::ImageLuma8(grey), DynamicImage::ImageRgba8(colour), DynamicImage::ImageLuma16(deep)];
    let encoded = |picture: &DynamicImage, format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    let mut seeds: Vec<_> = pictures.iter().map(|picture| encoded(picture, ImageFormat::Png)).collect();
    seeds.push(encoded(&pictures[0], ImageFormat::Jpeg));
    let tokens = &["IHDR", "IDAT", "PLTE", "tRNS", "eXIf", "acTL", "iCCP", "IEND"];
    Parser {
        name: "picture",
        seeds,
        tokens,
        repair: |bytes| repair_png(bytes),
        gzip: true,
        parse: parse_picture,
    }
}

/// Sets the sums of PNG's chunks right.
fn repair_png(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let Some(end) = at.checked_add(length.saturating_add(8)).filter(|end| end + 4 <= bytes.len()) else {
            return;
        };
        let mut sum = flate2::Crc::new();
        sum.update(&bytes[at + 4..end]);
        bytes[end..end + 4].copy_from_slice(&sum.sum().to_be_bytes());
        at = end + 4;
    }
}

fn parse_picture(input: &[u8]) -> bool {
    let images = refused_as_file(picture_file::parse_file(Path::new("fuzzed.png"), input.to_vec()));
    if let Some(images) = &images {
        assert!(matches!(images.shape.channels, 1 | 3) && images.count() == 1);
        assert_eq!(images.bytes.len(), images.shape.len());
    }
    images.is_some()
}

/// What was accepted; of what was refused, asserts that the error is one about the file's content and names it.
fn refused_as_file<T>(result: thalweg::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| {
            assert!(matches!(error, thalweg::Error::File { .. }), "not an error about content: {error:?}");
            let message = error.to_string();
            assert!(message.starts_with("fuzzed.") && message.len() < 20_000, "{message}");
        })
        .ok()
}

// ---- the tests

#[test]
fn idx_files() {
    check(&idx_parser());
}

#[test]
fn npy_files() {
    check(&npy_parser());
}

#[test]
fn npy_files_of_examples() {
    check(&npy_examples_parser());
}

#[test]
fn csv_files() {
    check(&csv_parser());
}

#[test]
fn npz() {
    check(&npz_parser());
}

#[test]
fn pictures() {
    check(&picture_parser());
}

#[test]
fn cifar_batches() {
    check(&cifar_parser());
}

/// The harness finds what is planted: a panic, an allocation by the header's word, and a wrong result.
#[test]
fn planted_faults_are_found() {
    let finds = |parse: fn(&[u8]) -> bool, word: &str| {
        let found = fuzz(&Parser { parse, ..idx_parser() }, 20_000).expect_err("nothing found");
        assert!(found.what.contains(word), "{}", found.what);
    };
    finds(|input| input[5] == 9, "index out of bounds");
    finds(
        |input| {
            let Some(&[a, b, c, d]) = input.get(4..8) else { return false };
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            std::hint::black_box(Vec::<u8>::with_capacity(length)).is_empty()
        },
        "bytes of memory",
    );
    finds(
        |input| {
            let images = idx::parse_images(Path::new("x"), input).ok();
            images.is_none_or(|images| {
                assert_eq!(images.shape.height, images.shape.width, "lopsided");
                true
            })
        },
        "lopsided",
    );
}
