//! Gatehouse's SDK for plugins in Rust. `../README.md` begins with an example;
//! `../../ABI.md` specifies the interface that this implements and what every
//! field means.
//!
//! A plugin is a type that implements [`Plugin`], named once by [`plugin!`]. It
//! keeps no state between calls but what [`Plugin::configure`] made of its
//! configuration.

#![no_std]

extern crate alloc;
// What a plugin without std needs of it: what happens on a panic, and when there is no
// memory left. Before Rust 1.68 nothing else can tell the latter.
#[cfg(target_arch = "wasm32")]
extern crate std;

mod guest;
mod json;
mod wire;

pub use guest::Guest;
pub use json::Json;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

/// The version of the interface: 1.0.
pub const VERSION: i32 = 1 << 16;

// The hooks that a plugin may have, for Plugin::HOOKS.

pub const OPEN: u32 = 1 << 1;
pub const REQUEST: u32 = 1 << 2;
pub const HEAD: u32 = 1 << 3;
pub const ROWS: u32 = 1 << 4;
pub const UPLOAD: u32 = 1 << 5;
pub const END: u32 = 1 << 6;
pub const CLOSE: u32 = 1 << 7;
/// The gate remembers answers, and keeps from the plugin what differs from request
/// to request: payloads, parameters, a session's ID.
pub const FACTS_ONLY: u32 = 1 << 16;
/// The gate does not load the plugin without the grant clock, which `now` needs to
/// tell more than some moment of 2022.
pub const CLOCK: u32 = 1 << 17;
/// The gate does not load the plugin without the grant random, without which `random`
/// tells the same in every instance.
pub const RANDOM: u32 = 1 << 18;

/// A plugin. Its hooks are called only where HOOKS has them.
#[allow(unused_variables)]
pub trait Plugin: Sized {
    const HOOKS: u32;

    /// Takes the configuration; an error refuses it.
    fn configure(config: &Config) -> Result<Self, String>;

    /// Detectors of the plugin's own, for Treatment::detect.
    fn detectors(&self) -> Vec<Detector> {
        Vec::new()
    }

    /// Returns the session's state, at most 4 KiB.
    fn open(&self, session: &Session) -> Vec<u8> {
        Vec::new()
    }

    fn request(&self, session: &Session, request: &Request) -> Verdict {
        Verdict::default()
    }

    /// Returns one treatment for each field.
    fn head(&self, session: &Session, head: &Head) -> Vec<Treatment> {
        Vec::new()
    }

    /// Adds edits of fields for which head said Inspect, in the order of rows,
    /// fields and bytes. They do not overlap.
    fn rows(&self, batch: &Batch, edits: &mut Vec<Edit>) {}

    fn upload(&self, session: &Session, batch: &Batch) -> Verdict {
        Verdict::default()
    }

    fn end(&self, session: &Session, outcome: &Outcome) -> Option<Note> {
        None
    }

    fn close(&self, session: &Session) -> Option<Note> {
        None
    }
}

/// A plugin's configuration: an object.
pub struct Config<'a> {
    pub json: Json,
    pub text: &'a [u8],
    /// The host's version of the interface, major << 16 | minor.
    pub version: u64,
}

/// Text as the host has it, which may not be UTF-8.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Text<'a>(pub &'a [u8]);

impl Deref for Text<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0
    }
}

impl PartialEq<str> for Text<'_> {
    fn eq(&self, s: &str) -> bool {
        self.0 == s.as_bytes()
    }
}

impl PartialEq<&str> for Text<'_> {
    fn eq(&self, s: &&str) -> bool {
        self.0 == s.as_bytes()
    }
}

impl PartialEq<String> for Text<'_> {
    fn eq(&self, s: &String) -> bool {
        self.0 == s.as_bytes()
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

#[cfg(target_arch = "wasm32")]
#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn clock_time_get(id: u32, precision: u64, time: *mut i64) -> u32;
    fn random_get(to: *mut u64, n: usize) -> u32;
}

/// The time, in nanoseconds since 1970: see CLOCK.
#[cfg(target_arch = "wasm32")]
pub fn now() -> i64 {
    let mut time = 0;
    assert!(unsafe { clock_time_get(0, 1, &mut time) } == 0, "there is no clock");
    time
}

/// A random number: see RANDOM.
#[cfg(target_arch = "wasm32")]
pub fn random() -> u64 {
    let mut n = 0;
    assert!(unsafe { random_get(&mut n, 8) } == 0, "there is no randomness");
    n
}

// What the host says.

#[derive(Default)]
pub struct Attr<'a> {
    pub key: Text<'a>,
    pub value: Text<'a>,
}

#[derive(Default)]
pub struct Principal<'a> {
    pub issuer: Text<'a>,
    pub subject: Text<'a>,
    pub name: Text<'a>,
    pub groups: Vec<Text<'a>>,
    /// Nanoseconds since 1970, if the proof ends.
    pub expires: Option<i64>,
}

#[derive(Default)]
pub struct Session<'a> {
    pub id: Text<'a>,
    pub gate: Text<'a>,
    pub protocol: Text<'a>,
    pub resource: Text<'a>,
    pub policy: Text<'a>,
    pub principal: Principal<'a>,
    pub client: Text<'a>,
    /// Nanoseconds since 1970.
    pub start: i64,
    pub attrs: Vec<Attr<'a>>,
    /// What Plugin::open returned.
    pub state: &'a [u8],
}

#[derive(Default)]
pub struct Object<'a> {
    pub schema: Text<'a>,
    pub name: Text<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    None,
    All,
    Restricted,
}

pub struct Statement<'a> {
    pub kind: Text<'a>,
    /// The index of the statement that contains this one.
    pub parent: Option<usize>,
    pub within: Text<'a>,
    pub runs: bool,
    pub writes: Vec<Object<'a>>,
    pub reads: Vec<Object<'a>>,
    pub columns: Vec<Text<'a>>,
    pub functions: Vec<Text<'a>>,
    pub settings: Vec<Text<'a>>,
    pub names: Vec<Text<'a>>,
    pub options: Vec<Text<'a>>,
    pub scope: Scope,
    pub opaque: bool,
    pub operators: Vec<Text<'a>>,
    pub types: Vec<Text<'a>>,
    pub predicates: Vec<Text<'a>>,
}

#[derive(Default)]
pub struct Cut<'a> {
    pub param: u64,
    pub size: u64,
    pub digest: &'a [u8],
}

#[derive(Default)]
pub struct Request<'a> {
    pub operation: Text<'a>,
    pub payload: &'a [u8],
    /// None is NULL.
    pub params: Vec<Option<&'a [u8]>>,
    pub statements: Vec<Statement<'a>>,
    pub labels: Vec<Attr<'a>>,
    pub attrs: Vec<Attr<'a>>,
    pub cut: Vec<Cut<'a>>,
    pub masked: Vec<Text<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lineage {
    Unknown,
    Exact,
    Derived,
    Filtered,
    Clean,
}

pub struct Field<'a> {
    pub name: Text<'a>,
    /// The protocol's name for the type.
    pub kind: Text<'a>,
    pub origins: Vec<Text<'a>>,
    pub lineage: Lineage,
}

#[derive(Default)]
pub struct Head<'a> {
    pub fields: Vec<Field<'a>>,
    pub attrs: Vec<Attr<'a>>,
}

#[derive(Default)]
pub struct Outcome<'a> {
    pub status: Text<'a>,
    pub tag: Text<'a>,
    pub code: Text<'a>,
    pub rows: u64,
}

/// A batch of values.
pub struct Batch<'a> {
    /// Describes the fields.
    pub head: Head<'a>,
    pub state: &'a [u8],
    rows: usize,
    fields: usize,
    offsets: &'a [u8],
    nulls: &'a [u8],
    values: &'a [u8],
}

impl<'a> Batch<'a> {
    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn fields(&self) -> usize {
        self.fields
    }

    /// Returns a value; None is NULL.
    pub fn cell(&self, row: usize, field: usize) -> Option<&'a [u8]> {
        assert!(row < self.rows && field < self.fields, "no such cell");
        let k = row * self.fields + field;
        if self.nulls[k / 8] >> (k % 8) & 1 != 0 {
            return None;
        }
        Some(&self.values[wire::u32_at(self.offsets, k)..wire::u32_at(self.offsets, k + 1)])
    }
}

// What a plugin answers.

/// A key and a value.
pub type Label = (String, String);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Action {
    Block,
    Hold,
    Allow,
}

impl Default for Action {
    fn default() -> Self {
        Action::Block
    }
}

/// The default verdict blocks.
#[derive(Default)]
pub struct Verdict {
    pub action: Action,
    pub rule: String,
    pub reason: String,
    pub labels: Vec<Label>,
}

impl Verdict {
    pub fn allow() -> Self {
        Verdict { action: Action::Allow, ..Self::default() }
    }

    pub fn hold(rule: impl Into<String>, reason: impl Into<String>) -> Self {
        Verdict { action: Action::Hold, rule: rule.into(), reason: reason.into(), ..Self::default() }
    }

    pub fn block(rule: impl Into<String>, reason: impl Into<String>) -> Self {
        Verdict { rule: rule.into(), reason: reason.into(), ..Self::default() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    Null,
    Redact,
    Hash,
    KeepLast,
    Replace,
    Inspect,
    Pass,
    Fake,
    Detect,
}

impl Default for Kind {
    fn default() -> Self {
        Kind::Null
    }
}

/// What is done to what a detector finds.
#[derive(Clone)]
pub struct Detect {
    pub name: String,
    pub kind: Kind,
    pub keep: u8,
}

/// The default treatment makes a field NULL.
#[derive(Clone, Default)]
pub struct Treatment {
    pub kind: Kind,
    /// For KeepLast.
    pub keep: u8,
    pub rule: String,
    /// For Detect.
    pub detect: Vec<Detect>,
}

impl Treatment {
    pub fn new(kind: Kind, rule: impl Into<String>) -> Self {
        Treatment { kind, rule: rule.into(), ..Self::default() }
    }
}

#[derive(Default)]
pub struct Edit {
    pub row: usize,
    pub field: usize,
    /// Bytes of the value; `to` is exclusive.
    pub from: usize,
    pub to: usize,
    pub kind: Kind,
    pub keep: u8,
    /// For Replace.
    pub text: Vec<u8>,
}

pub struct Detector {
    pub name: String,
    pub pattern: String,
}

#[derive(Default)]
pub struct Note {
    pub text: String,
    pub labels: Vec<Label>,
}

/// Makes a type the plugin of this module.
#[macro_export]
macro_rules! plugin {
    ($plugin:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            static GUEST: $crate::Guest<$plugin> = $crate::Guest::new();

            #[no_mangle]
            extern "C" fn abi_version() -> i32 {
                $crate::VERSION
            }
            #[no_mangle]
            extern "C" fn hooks() -> u32 {
                <$plugin as $crate::Plugin>::HOOKS | 1
            }
            #[no_mangle]
            extern "C" fn buffer(n: usize) -> *mut u8 {
                GUEST.buffer(n)
            }
            #[no_mangle]
            extern "C" fn configure(n: usize) -> i64 {
                GUEST.configure(n)
            }
            #[no_mangle]
            extern "C" fn on_open(n: usize) -> i64 {
                GUEST.open(n)
            }
            #[no_mangle]
            extern "C" fn on_request(n: usize) -> i64 {
                GUEST.request(n)
            }
            #[no_mangle]
            extern "C" fn on_head(n: usize) -> i64 {
                GUEST.head(n)
            }
            #[no_mangle]
            extern "C" fn on_rows(n: usize) -> i64 {
                GUEST.rows(n)
            }
            #[no_mangle]
            extern "C" fn on_upload(n: usize) -> i64 {
                GUEST.upload(n)
            }
            #[no_mangle]
            extern "C" fn on_end(n: usize) -> i64 {
                GUEST.end(n)
            }
            #[no_mangle]
            extern "C" fn on_close(n: usize) -> i64 {
                GUEST.close(n)
            }
        };
    };
}

/// Puts a file with a JSON Schema into the module, by which the gate checks the
/// configuration. Its path is relative to the source file.
#[macro_export]
macro_rules! schema {
    ($file:expr) => {
        #[cfg_attr(target_arch = "wasm32", link_section = "gatehouse.schema")]
        #[used]
        static SCHEMA: [u8; include_bytes!($file).len()] = *include_bytes!($file);
    };
}
