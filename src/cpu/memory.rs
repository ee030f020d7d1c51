//! How much memory is left.

use crate::plan::Room;
use std::path::Path;

/// What the processor has room for: as much memory as is free, where the system tells.
pub fn room() -> Room {
    let total = [of_machine(), of_container()].into_iter().flatten().min();
    Room { total: total.unwrap_or(u64::MAX), ..Room::ENDLESS }
}

/// Bytes that Linux could give away without swapping.
fn of_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let [available, swap] = ["MemAvailable:", "SwapFree:"].map(|name| field(&text, name));
    Some(1024 * (available? + swap.unwrap_or(0)))
}

/// Bytes that are left of what a container may have (cgroup v2). Its page cache is given up when memory is short, and does
/// not count as used.
fn of_container() -> Option<u64> {
    let folder = Path::new("/sys/fs/cgroup");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    let most: u64 = read("memory.max")?.trim().parse().ok()?; // not where it says `max`
    let stat = read("memory.stat")?;
    let used = field(&stat, "anon")? + field(&stat, "shmem").unwrap_or(0);
    Some(most.saturating_sub(used))
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    lines.find_map(|mut words| if words.next()? == name { words.next()?.parse().ok() } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found() {
        let text = "MemTotal: 7 kB\nMemAvailable:   123 kB\nanon 5\nanon_thp 6\n";
        assert_eq!(field(text, "MemAvailable:"), Some(123));
        assert_eq!(field(text, "anon"), Some(5));
        assert_eq!(field(text, "SwapFree:"), None);
        assert!(room().total > 1 << 20);
    }
}
