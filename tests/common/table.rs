//! Tables of cases, text files under `tests/tables`: a row is what is tried and the words that its message must hold.
//!
//! `[name]` begins a section. A row is `case => word | word`. Lines that begin with `#` are comments. `$name = text ;; text`
//! defines a shorthand of the section: a row that holds `$name` is one row for each of its texts.

use std::path::Path;

/// One case of a table.
pub struct Row {
    /// File, line and case, to name the row by.
    pub place: String,
    pub case: String,
    pub words: Vec<String>,
}

/// The rows of a section, in which `{name}` stands for one of `values`.
pub fn rows(table: &str, section: &str, values: &[(&str, &str)]) -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables").join(table);
    let text = std::fs::read_to_string(&path).unwrap();
    let value = |text: &str| {
        values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    };
    let title = format!("[{section}]");
    let (mut shorthands, mut rows, mut inside) = (Vec::new(), Vec::new(), false);
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('[') && line.ends_with(']') && !line.contains(" => ") {
            inside = line == title;
        } else if inside && line.starts_with('$') && !line.contains(" =>") {
            let (name, texts) = line.split_once(" = ").expect("a shorthand has a text");
            shorthands.push((name.to_owned(), texts.split(" ;; ").map(str::to_owned).collect::<Vec<_>>()));
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let (case, words) = line.split_once("=>").unwrap_or_else(|| panic!("{table}:{number}: no =>"));
            let words: Vec<_> = words.split(" | ").map(|word| value(word.trim())).collect();
            for case in meanings(case.trim(), &shorthands) {
                let case = value(&case);
                rows.push(Row { place: format!("{table}:{number}: `{case}`"), case, words: words.clone() });
            }
        }
    }
    assert!(!rows.is_empty(), "{table} has no rows of {title}");
    rows
}

/// A case with its first shorthand replaced by each of its texts, and so on for those.
fn meanings(case: &str, shorthands: &[(String, Vec<String>)]) -> Vec<String> {
    match shorthands.iter().find(|(name, _)| case.split(' ').any(|part| part == name)) {
        None => vec![case.to_owned()],
        Some((name, texts)) => texts
            .iter()
            .flat_map(|text| {
                let parts: Vec<_> =
                    case.split(' ').map(|part| if part == name { text } else { part }).collect();
                meanings(&parts.join(" "), shorthands)
            })
            .collect(),
    }
}

/// The bytes that a case stands for: `\n`, `\r`, `\t`, `\0`, `\\`, `\xNN` and `\u{N}` as in Rust's literals.
pub fn unescaped(case: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), case);
    while let Some(at) = rest.find('\\') {
        bytes.extend(&rest.as_bytes()[..at]);
        let (code, after) = (&rest[at + 1..at + 2], &rest[at + 2..]);
        rest = after;
        match code {
            "n" => bytes.push(b'\n'),
            "r" => bytes.push(b'\r'),
            "t" => bytes.push(b'\t'),
            "0" => bytes.push(0),
            "\\" => bytes.push(b'\\'),
            "x" => {
                bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
                rest = &after[2..];
            }
            "u" => {
                let (number, after) = after[1..].split_once('}').unwrap();
                let letter = char::from_u32(u32::from_str_radix(number, 16).unwrap()).unwrap();
                bytes.extend(letter.to_string().as_bytes());
                rest = after;
            }
            other => panic!("\\{other} in {case}"),
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// The text that a case stands for.
pub fn unescaped_text(case: &str) -> String {
    String::from_utf8(unescaped(case)).unwrap()
}

/// Asserts for each row of a section that its case is refused with a message that holds all its words. `refuse` returns the
/// message, or none where the case is accepted.
#[track_caller]
pub fn rows_refused(table: &str, section: &str, mut refuse: impl FnMut(&str) -> Option<String>) {
    let mut faults = Vec::new();
    for row in rows(table, section, &[]) {
        match refuse(&row.case) {
            None => faults.push(format!("{} is accepted", row.place)),
            Some(message) => {
                let missing = row.words.iter().filter(|word| !message.contains(&**word));
                faults.extend(missing.map(|word| format!("{} does not say `{word}`: {message}", row.place)));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Asserts that an error's message holds each of the words.
#[track_caller]
pub fn assert_says<T>(result: thalweg::Result<T>, words: &[&str]) {
    let message =
        result.err().unwrap_or_else(|| panic!("no error; expected one that says {words:?}")).to_string();
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

/// Shorthands, values and escapes are replaced, and a case that is accepted or says something else is found.
#[test]
fn tables_are_read_and_can_fail() {
    let found = rows("refusals.txt", "images", &[("weights", "w")]);
    assert!(found.len() > 30 && found.iter().all(|row| !row.case.contains('$')), "{}", found.len());
    assert!(found.iter().any(|row| row.case.contains("--model 'w' ")));
    assert_eq!(unescaped(r"a\n\x00\xff\u{2212}\\b"), b"a\n\0\xff\xe2\x88\x92\\b");
    for message in [None, Some("something else".to_owned())] {
        let fails = std::panic::catch_unwind(|| rows_refused("settings.txt", "set", |_| message.clone()));
        let text = *fails.unwrap_err().downcast::<String>().unwrap();
        assert!(text.contains("settings.txt:") && text.contains("chain.stpes=60"), "{text}");
    }
}

/// A section that no test reads would hold nothing.
#[test]
fn every_section_has_its_test() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let files = |folder: &Path, ending: &str| -> Vec<String> {
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let own = paths.filter(|path| path.extension().is_some_and(|found| found == ending));
        own.map(|path| std::fs::read_to_string(path).unwrap()).collect()
    };
    let sources = files(&tests, "rs").join("\n");
    for table in files(&tests.join("tables"), "txt") {
        let titles = table.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
        for title in titles.filter(|title| !title.contains(" => ")) {
            assert!(sources.contains(&format!("\"{title}\"")), "no test reads [{title}]");
        }
    }
}
