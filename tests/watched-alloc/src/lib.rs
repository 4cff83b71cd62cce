//! An allocator for tests that looks through every block before it is given back, for pieces of secrets that should
//! have been wiped. A core dump or a read of stale memory would find what it finds.
//!
//! It sees the heap alone, and of that what Rust allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The allocator; make it the `#[global_allocator]` of a test.
#[derive(Debug)]
pub struct Watched;

/// Bytes of a piece. Eight random bytes are not found by chance.
pub const PIECE: usize = 8;
/// Pieces that can be looked for at once.
const MOST: usize = 256;

static PIECES: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];
static COUNT: AtomicUsize = AtomicUsize::new(0);
static FOUND: Mutex<Vec<Found>> = Mutex::new(Vec::new());

thread_local! {
    /// What is freed while a find is written down is not looked through.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// A secret that was given back.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which piece, in the order in which they were planted.
    pub piece: usize,
    /// The block's size in bytes.
    pub size: usize,
    /// Who gave it back.
    pub backtrace: String,
}

/// Begins to look for a piece, the first [`PIECE`] bytes of `secret`.
///
/// # Panics
/// When it is too short, all the same byte, or there is no room for another.
pub fn plant(secret: &[u8]) {
    let piece: [u8; PIECE] = secret[..PIECE].try_into().unwrap();
    assert!(piece.iter().any(|byte| *byte != piece[0]), "such a piece is found everywhere");
    let at = COUNT.load(Ordering::SeqCst);
    PIECES[at].store(u64::from_ne_bytes(piece), Ordering::SeqCst);
    COUNT.store(at + 1, Ordering::SeqCst);
}

/// Forgets all pieces, and gives what was found.
pub fn harvest() -> Vec<Found> {
    COUNT.store(0, Ordering::SeqCst);
    BUSY.set(true);
    let found = std::mem::take(&mut *FOUND.lock().unwrap_or_else(PoisonError::into_inner));
    BUSY.set(false);
    found
}

// SAFETY: all work is done by `System`; a block is read whole, as it was allocated, before it is freed.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, so that a block can be read whole and holds nothing of the one that was there before.
        // SAFETY: the caller's promises are those of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if COUNT.load(Ordering::Relaxed) > 0 && !BUSY.get() {
            // SAFETY: the block was allocated with this layout, and zeroed then.
            look(unsafe { std::slice::from_raw_parts(block, layout.size()) });
        }
        // SAFETY: as for the caller.
        unsafe { System.dealloc(block, layout) }
    }
    // `realloc` is left to its default, which copies to a new block and gives the old one back.
}

fn look(block: &[u8]) {
    let count = COUNT.load(Ordering::Relaxed).min(MOST);
    for window in block.windows(PIECE) {
        let value = u64::from_ne_bytes(window.try_into().unwrap_or_default());
        if value == 0 {
            continue;
        }
        let same = |piece: &AtomicU64| piece.load(Ordering::Relaxed) == value;
        if let Some(piece) = PIECES[..count].iter().position(same) {
            BUSY.set(true);
            let backtrace = Backtrace::force_capture().to_string();
            let found = Found { piece, size: block.len(), backtrace };
            FOUND.lock().unwrap_or_else(PoisonError::into_inner).push(found);
            BUSY.set(false);
            return;
        }
    }
}
