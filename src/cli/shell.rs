//! Commands that are printed, to be pasted word for word.

use std::ffi::OsStr;

/// An option with its value, quoted for the shell of the system where that takes quotes: `--out='/my runs/1'`.
pub(crate) fn option(name: &str, value: impl AsRef<OsStr>) -> String {
    format!("--{name}={}", quoted(value.as_ref()))
}

/// A word for `sh`, `bash`, `zsh`.
#[cfg(not(windows))]
fn quoted(word: &OsStr) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_./:@%+,-".contains(byte);
    let bytes = word.as_encoded_bytes();
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return word.to_string_lossy().into_owned();
    }
    match word.to_str() {
        Some(text) if !text.contains(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        // What a terminal can't show, byte by byte.
        _ => {
            let plain = |byte: &u8| match byte {
                b' ' => " ".to_owned(),
                byte if is_plain(byte) => char::from(*byte).to_string(),
                byte => format!(r"\x{byte:02x}"),
            };
            format!("$'{}'", bytes.iter().map(plain).collect::<String>())
        }
    }
}

/// A word for PowerShell and `cmd`, whose quotes agree but for what PowerShell expands in double ones.
#[cfg(windows)]
fn quoted(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || r"_.\/:-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.into_owned()
    } else if text.contains(['$', '`', '%']) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        format!("\"{text}\"")
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let words: [&[u8]; 10] = [
            b"run",
            b"my run",
            b"it's $HOME `ls` \"x\" \\ !",
            b"",
            b"-x",
            "M\u{fc}nchen".as_bytes(),
            b"a\nb\tc",
            b"\xff\xfe raw'",
            b"*?[a];&|<>(){}#~",
            b"trailing ",
        ];
        for word in words {
            let line = format!("printf %s {}", option("out", OsStr::from_bytes(word)));
            // `sh` may be one that does not know $'...'.
            let shell = if line.contains("$'") { "bash" } else { "sh" };
            let output = Command::new(shell).args(["-c", &line]).output().unwrap();
            assert_eq!(output.stdout, [b"--out=", word].concat(), "{line}");
        }
        assert_eq!(option("out", "/a/b-1.c"), "--out=/a/b-1.c");
    }
}
