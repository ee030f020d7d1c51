#[allow(dead_code, reason = "`train`, which uses it, comes next")]
mod cli;

fn main() {}
