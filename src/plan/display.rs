//! Plans as text: a line for each launch, with its buffers and their shapes.

use super::{BufferId, Launch, Layout, Plan, ProgramId};
use crate::kernels::Access;
use std::fmt;

/// The longest stretch of launches that is recognized when it repeats, as the steps of a chain do.
const LONGEST_REPEAT: usize = 64;

impl Plan {
    /// A program's launches, a line each: kernel, what it reads, `->`, what it writes. `name[a, b, c]` is a per-block buffer
    /// of `a` blocks, `b` features and `c` lanes; `name[n]` holds `n` words. `~` marks a buffer that is read and written.
    /// Launches that repeat are listed once, under how often they run.
    pub fn list(&self, program: ProgramId) -> String {
        let lines: Vec<String> = self.programs[program.0].iter().map(|launch| self.line(launch)).collect();
        let mut text = String::new();
        let mut at = 0;
        while at < lines.len() {
            let (period, times) = repeats(&lines[at..]);
            let (indent, end) = if times > 1 { ("        ", at + period) } else { ("    ", at + 1) };
            if times > 1 {
                text += &format!("    {times} times:\n");
            }
            for line in &lines[at..end] {
                text += &format!("{indent}{line}\n");
            }
            at += period * times;
        }
        text
    }

    fn line(&self, launch: &Launch) -> String {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        for (buffer, access) in launch.bindings.iter().zip(launch.kernel.access()) {
            let name = self.shape(*buffer);
            match access {
                Access::Read => reads.push(name),
                Access::ReadWrite => writes.push(format!("~{name}")),
                _ => writes.push(name),
            }
        }
        let blocks = match launch.blocks.len() {
            0 => String::new(),
            _ => format!(" blocks {}..{}", launch.blocks.start, launch.blocks.end),
        };
        let arrow = if reads.is_empty() { "->" } else { " ->" };
        let line = format!("{:<22} {}{arrow} {}", launch.kernel.name(), reads.join(", "), writes.join(", "));
        line + &blocks
    }

    fn shape(&self, buffer: BufferId) -> String {
        let spec = &self.buffers[buffer.0];
        match spec.layout {
            Layout::PerBlock(features) => {
                format!("{}[{}, {features}, {}]", spec.name, self.n_blocks, self.lanes)
            }
            Layout::Flat(len) => format!("{}[{len}]", spec.name),
        }
    }
}

/// How many lines at the front repeat at once, and how often: the choice that covers most lines, of the shortest stretch.
fn repeats(lines: &[String]) -> (usize, usize) {
    let mut best = (1, 1);
    for period in 1..=LONGEST_REPEAT.min(lines.len() / 2) {
        let first = &lines[..period];
        let times = lines.chunks_exact(period).take_while(|chunk| *chunk == first).count();
        if times > 1 && period * times > best.0 * best.1 {
            best = (period, times);
        }
    }
    best
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{} buffers, {} blocks of {} images", self.buffers.len(), self.n_blocks, self.lanes)?;
        for program in 0..self.programs.len() {
            writeln!(f, "program {program}: {} launches", self.programs[program].len())?;
            f.write_str(&self.list(ProgramId(program)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::repeats;

    #[test]
    fn repeated_stretches_are_found() {
        let lines = |text: &str| -> Vec<String> { text.chars().map(String::from).collect() };
        assert_eq!(repeats(&lines("abc")), (1, 1));
        assert_eq!(repeats(&lines("aab")), (1, 2));
        assert_eq!(repeats(&lines("ababab")), (2, 3));
        assert_eq!(repeats(&lines("abababc")), (2, 3));
        // Not the whole of it twice, but the part of it four times.
        assert_eq!(repeats(&lines("aaaa")), (1, 4));
        assert_eq!(repeats(&lines("")), (1, 1));
    }
}
