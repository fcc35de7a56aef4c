//! The guest's side of a call, and its memory.

use alloc::vec::Vec;
use core::cell::UnsafeCell;

use crate::wire::{self, Malformed, Message};
use crate::*;

/// A guest is what `plugin!` makes of a plugin.
pub struct Guest<P>(UnsafeCell<Parts<P>>);

struct Parts<P> {
    plugin: Option<P>,
    buffer: Vec<u64>, // words, so that it begins at a multiple of 4
    answer: Vec<u8>,
    grown: bool, // there is more than was kept
}

// An instance has one thread, and one call at a time.
unsafe impl<P> Sync for Guest<P> {}

const FAILED: i64 = -1;

impl<P> Parts<P> {
    /// Frees what the last call allocated.
    fn free(&mut self) {
        self.answer = Vec::new();
        if core::mem::take(&mut self.grown) {
            memory::keep();
        } else {
            memory::reset();
        }
    }

    /// The first n bytes of the buffer, as a message.
    fn input(&self, n: usize) -> Result<Message, Malformed> {
        if n > 8 * self.buffer.len() {
            return Err(Malformed);
        }
        Message::read(unsafe { core::slice::from_raw_parts(self.buffer.as_ptr().cast(), n) })
    }

    fn result(&mut self, done: Result<(), Malformed>, answer: Vec<u8>) -> i64 {
        self.answer = answer;
        match done {
            Ok(()) => (self.answer.as_ptr() as i64) << 32 | self.answer.len() as i64,
            Err(Malformed) => FAILED,
        }
    }
}

impl<P: Plugin> Guest<P> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Guest(UnsafeCell::new(Parts { plugin: None, buffer: Vec::new(), answer: Vec::new(), grown: false }))
    }

    #[allow(clippy::mut_from_ref)]
    fn parts(&self) -> &mut Parts<P> {
        unsafe { &mut *self.0.get() }
    }

    pub fn buffer(&self, n: usize) -> *mut u8 {
        let parts = self.parts();
        if 8 * parts.buffer.len() < n {
            parts.free();
            parts.buffer = alloc::vec![0; (n + 7) / 8];
            parts.grown = true;
        }
        parts.buffer.as_mut_ptr().cast()
    }

    /// Calls a hook with an input of n bytes.
    fn call(&self, n: usize, hook: impl FnOnce(&P, &Message, &mut Vec<u8>) -> Result<(), Malformed>) -> i64 {
        let parts = self.parts();
        parts.free();
        let mut answer = Vec::new();
        let done = match (&parts.plugin, parts.input(n)) {
            (Some(plugin), Ok(input)) => hook(plugin, &input, &mut answer),
            _ => Err(Malformed),
        };
        parts.result(done, answer)
    }

    pub fn configure(&self, n: usize) -> i64 {
        let parts = self.parts();
        parts.free();
        let mut answer = Vec::new();
        let made = match parts.input(n).and_then(|input| input.config()) {
            Ok(config) => P::configure(&config),
            Err(Malformed) => return FAILED,
        };
        match made {
            Ok(plugin) => {
                wire::put_detectors(&mut answer, &plugin.detectors());
                parts.plugin = Some(plugin);
            }
            Err(problem) => wire::put_problem(&mut answer, &problem),
        }
        parts.grown = true;
        parts.result(Ok(()), answer)
    }

    pub fn open(&self, n: usize) -> i64 {
        self.call(n, |plugin, input, answer| {
            wire::put_state(answer, &plugin.open(&input.session()?));
            Ok(())
        })
    }

    pub fn request(&self, n: usize) -> i64 {
        self.call(n, |plugin, input, answer| {
            let request = Request::read(input.section(wire::REQUEST))?;
            wire::put_verdict(answer, &plugin.request(&input.session()?, &request));
            Ok(())
        })
    }

    pub fn head(&self, n: usize) -> i64 {
        self.call(n, |plugin, input, answer| {
            let head = Head::read(input.section(wire::HEAD))?;
            wire::put_treatments(answer, &plugin.head(&input.session()?, &head));
            Ok(())
        })
    }

    pub fn rows(&self, n: usize) -> i64 {
        self.call(n, |plugin, input, answer| {
            let mut edits = Vec::new();
            plugin.rows(&input.batch()?, &mut edits);
            wire::put_edits(answer, &edits);
            Ok(())
        })
    }

    pub fn upload(&self, n: usize) -> i64 {
        self.call(n, |plugin, input, answer| {
            wire::put_verdict(answer, &plugin.upload(&input.session()?, &input.batch()?));
            Ok(())
        })
    }

    pub fn end(&self, n: usize) -> i64 {
        self.call(n, |plugin, input, answer| {
            let outcome = Outcome::read(input.section(wire::OUTCOME))?;
            wire::put_note(answer, &plugin.end(&input.session()?, &outcome));
            Ok(())
        })
    }

    pub fn close(&self, n: usize) -> i64 {
        self.call(n, |plugin, input, answer| {
            wire::put_note(answer, &plugin.close(&input.session()?));
            Ok(())
        })
    }
}

/// Memory grows from the end of the data on. What is freed is not used again, but
/// between calls, when nothing is left that was allocated since `keep`.
#[cfg(target_arch = "wasm32")]
mod memory {
    use core::alloc::{GlobalAlloc, Layout};
    use core::arch::wasm32;
    use core::cell::UnsafeCell;

    struct Arena(UnsafeCell<Marks>);

    struct Marks {
        top: usize,
        live: usize, // how many allocations there are
        kept: (usize, usize),
    }

    unsafe impl Sync for Arena {}

    #[global_allocator]
    static ARENA: Arena = Arena(UnsafeCell::new(Marks { top: 0, live: 0, kept: (0, 0) }));

    extern "C" {
        static __heap_base: u8;
    }

    const PAGE: usize = 64 << 10;

    /// Makes sure that memory goes up to `end`.
    fn reach(end: usize) -> bool {
        let have = wasm32::memory_size(0) * PAGE;
        end <= have || wasm32::memory_grow(0, (end - have + PAGE - 1) / PAGE) != usize::MAX
    }

    unsafe impl GlobalAlloc for Arena {
        unsafe fn alloc(&self, l: Layout) -> *mut u8 {
            let m = &mut *self.0.get();
            if m.top == 0 {
                m.top = &__heap_base as *const u8 as usize;
                m.kept.0 = m.top;
            }
            let at = (m.top + l.align() - 1) & !(l.align() - 1);
            match at.checked_add(l.size()) {
                Some(end) if reach(end) => {
                    m.top = end;
                    m.live += 1;
                    at as *mut u8
                }
                _ => core::ptr::null_mut(),
            }
        }

        unsafe fn dealloc(&self, p: *mut u8, l: Layout) {
            let m = &mut *self.0.get();
            m.live -= 1;
            if p as usize + l.size() == m.top && p as usize >= m.kept.0 {
                m.top = p as usize; // it was the last one
            }
        }

        unsafe fn realloc(&self, p: *mut u8, l: Layout, size: usize) -> *mut u8 {
            let m = &mut *self.0.get();
            if p as usize + l.size() == m.top && p as usize >= m.kept.0 {
                match (p as usize).checked_add(size) {
                    Some(end) if reach(end) => {
                        m.top = end;
                        return p;
                    }
                    _ => return core::ptr::null_mut(),
                }
            }
            let new = self.alloc(Layout::from_size_align_unchecked(size, l.align()));
            if !new.is_null() {
                core::ptr::copy_nonoverlapping(p, new, l.size().min(size));
                self.dealloc(p, l);
            }
            new
        }
    }

    pub fn reset() {
        let m = unsafe { &mut *ARENA.0.get() };
        if m.live == m.kept.1 && m.top != 0 {
            m.top = m.kept.0;
        }
    }

    pub fn keep() {
        let m = unsafe { &mut *ARENA.0.get() };
        m.kept = (m.top, m.live);
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod memory {
    pub fn reset() {}
    pub fn keep() {}
}
