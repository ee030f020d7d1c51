//! Ctrl-C and its like: the first ends a run in good order, the next ends it at once, when nothing is lost by that.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};

/// How many signals have come, and which was the first.
static COUNT: AtomicU32 = AtomicU32::new(0);
static FIRST: AtomicI32 = AtomicI32::new(0);
/// Whether every step done is in the checkpoint.
static SAVED: AtomicBool = AtomicBool::new(false);

/// Listens from now on, instead of being ended. Where a system refuses that, signals end the process as ever.
pub(crate) fn listen() {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let mut signals = vec![SIGINT, SIGTERM];
        if !is_ignored(SIGHUP) {
            signals.push(SIGHUP); // else `nohup` has been asked to keep the run going
        }
        if let Ok(mut signals) = signal_hook::iterator::Signals::new(signals) {
            std::thread::spawn(move || signals.forever().for_each(come));
        }
    }
    #[cfg(windows)]
    let _ = ctrlc::set_handler(|| come(2));
}

/// The number of the first signal that has come: the run is to be saved, and to end.
pub(crate) fn first() -> Option<i32> {
    (COUNT.load(Ordering::SeqCst) > 0).then(|| FIRST.load(Ordering::SeqCst))
}

/// Says whether every step done is saved.
pub(crate) fn saved(is_saved: bool) {
    SAVED.store(is_saved, Ordering::SeqCst);
}

/// Whether more than one signal has come: once the run is saved, it is to end without more ado.
pub(crate) fn is_urgent() -> bool {
    COUNT.load(Ordering::SeqCst) > 1
}

/// What shells say of a process that a signal ended: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
pub(crate) fn exit_code(signal: i32) -> u8 {
    128 + signal as u8
}

fn come(signal: i32) {
    if COUNT.load(Ordering::SeqCst) == 0 {
        FIRST.store(signal, Ordering::SeqCst);
    }
    let count = COUNT.fetch_add(1, Ordering::SeqCst) + 1;
    if count > 1 && (SAVED.load(Ordering::SeqCst) || count > 2) {
        std::process::exit(exit_code(FIRST.load(Ordering::SeqCst)).into());
    }
    if count == 2 {
        let text = "Ends as soon as the run is saved; once more ends it now, and loses the steps since the last save.";
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Whether the process that started this one wants a signal ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zero is a valid `sigaction`; with no new action given, the call writes only to `now`.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

/// Has writing beyond a limit on file sizes (`ulimit -f`) be an error, as a full disk is, and not the end.
pub(crate) fn no_size_signal() {
    #[cfg(unix)]
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}
