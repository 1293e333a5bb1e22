//! Handles the loss of a mapped file's pages in use: somebody has cut it short or overwritten it,
//! or its disk fails. The system tells by SIGBUS, whose default is an end without a word.

use std::ffi::c_void;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::logging;

/// `EX_IOERR` of sysexits.h.
pub const EXIT_CODE: i32 = 74;

/// The line that the handler writes: made beforehand, since a handler may not.
static LINE: OnceLock<String> = OnceLock::new();
static LOST: AtomicBool = AtomicBool::new(false);
/// True if a thread listens to SIGTERM, removes what is unfinished and ends the process.
static CLEANS_UP: AtomicBool = AtomicBool::new(false);

/// From now on a lost page ends the process with [`EXIT_CODE`] and one line on stderr that names
/// `model`. The first call counts.
pub fn tell_of(model: &Path) {
    let model = sterna_errors::brief(&model.display().to_string()).into_owned();
    let text = format!(
        "the model {model} has lost pages that are in use: a file of it was cut short or overwritten, or its disk \
         fails. Replace a model by renaming the new file to its name, never in place; then start again. Exit code \
         {EXIT_CODE}"
    );
    if LINE.set(logging::error_line(&text)).is_ok() {
        install();
    }
}

/// True if a thread listens to SIGTERM, removes what is unfinished and ends the process: a lost
/// page then ends it that way.
pub(crate) fn end_by_sigterm(listens: bool) {
    CLEANS_UP.store(listens, Ordering::SeqCst);
}

/// True if a page was lost.
pub(crate) fn were_lost() -> bool {
    LOST.load(Ordering::SeqCst)
}

fn install() {
    // SAFETY: all fields are set below, or may be zero.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_lost_page as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `action` is whole, and the handler only does what signal-safety(7) allows. A failure
    // leaves the default.
    unsafe {
        libc::sigemptyset(&raw mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
    }
}

/// `BUS_ADRERR`: a page that the mapped file does not have (any more).
const NO_SUCH_PAGE: i32 = 2;

extern "C" fn on_lost_page(signal: i32, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel hands a handler with SA_SIGINFO a good one.
    let code = unsafe { (*info).si_code };
    let line = LINE.get().filter(|_| code == NO_SUCH_PAGE);
    // SAFETY: every function called here is on signal-safety(7)'s list; `line` lives for ever.
    unsafe {
        let Some(line) = line else {
            // Broken memory, or somebody's kill: as without a handler.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
            return;
        };
        if LOST.swap(true, Ordering::SeqCst) {
            // Another thread is telling.
            loop {
                libc::pause();
            }
        }
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        if CLEANS_UP.load(Ordering::SeqCst) {
            // The thread that removes unfinished files ends the process.
            libc::kill(libc::getpid(), libc::SIGTERM);
            loop {
                libc::pause();
            }
        }
        libc::_exit(EXIT_CODE);
    }
}
