//! Reading inputs and writing answers, as `../../ABI.md` specifies them.

use alloc::string::String;
use alloc::vec::Vec;

use crate::*;

pub const SESSION: usize = 1;
pub const STATE: usize = 2;
pub const REQUEST: usize = 3;
pub const HEAD: usize = 4;
pub const OUTCOME: usize = 5;
const CONFIG: usize = 6;
const HOST: usize = 7;
const SHAPE: usize = 8;
const OFFSETS: usize = 9;
const NULLS: usize = 10;
const VALUES: usize = 11;
const INPUTS: usize = 12;

pub const PROBLEM: u32 = 32;
pub const DETECTORS: u32 = 33;
pub const VERDICT: u32 = 34;
pub const TREATMENTS: u32 = 35;
pub const EDITS: u32 = 36;
pub const TEXTS: u32 = 37;
pub const NOTE: u32 = 38;

/// The error of what is malformed.
pub struct Malformed;

type Result<T> = core::result::Result<T, Malformed>;

// Reading.

pub fn u32_at(b: &[u8], i: usize) -> usize {
    u32::from_le_bytes([b[4 * i], b[4 * i + 1], b[4 * i + 2], b[4 * i + 3]]) as usize
}

/// The sections of a message.
pub struct Message<'a>([Option<&'a [u8]>; INPUTS]);

impl<'a> Message<'a> {
    pub fn read(mut b: &'a [u8]) -> Result<Self> {
        let mut m = Message([None; INPUTS]);
        while !b.is_empty() {
            if b.len() < 8 {
                return Err(Malformed);
            }
            let (tag, len) = (u32_at(b, 0), u32_at(b, 1));
            b = &b[8..];
            let padded = len.checked_add(3).ok_or(Malformed)? & !3;
            if padded > b.len() {
                return Err(Malformed);
            }
            if tag < INPUTS {
                m.0[tag] = Some(&b[..len]);
            }
            b = &b[padded..];
        }
        Ok(m)
    }

    /// A section, empty where it is not there.
    pub fn section(&self, tag: usize) -> &'a [u8] {
        self.0[tag].unwrap_or(&[])
    }

    /// The configuration. Its JSON is null where it is none.
    pub fn config(&self) -> Result<Config<'a>> {
        let mut version = 0;
        elements(self.section(HOST), |tag, v| {
            if tag == 1 {
                version = number(v)?;
            }
            Ok(())
        })?;
        let text = self.section(CONFIG);
        Ok(Config { json: Json::parse(text).unwrap_or(Json::Null), text, version })
    }

    pub fn session(&self) -> Result<Session<'a>> {
        let mut s = Session::read(self.section(SESSION))?;
        s.state = self.section(STATE);
        Ok(s)
    }

    pub fn batch(&self) -> Result<Batch<'a>> {
        let shape = self.section(SHAPE);
        if shape.len() != 8 {
            return Err(Malformed);
        }
        let b = Batch {
            head: Head::read(self.section(HEAD))?,
            state: self.section(STATE),
            rows: u32_at(shape, 0),
            fields: u32_at(shape, 1),
            offsets: self.section(OFFSETS),
            nulls: self.section(NULLS),
            values: self.section(VALUES),
        };
        let cells = b.rows as u64 * b.fields as u64;
        if b.offsets.len() as u64 != 4 * (cells + 1) || b.nulls.len() as u64 != 4 * ((cells + 31) / 32) {
            return Err(Malformed);
        }
        let mut last = 0;
        for k in 0..=cells as usize {
            let at = u32_at(b.offsets, k);
            if at < last || at > b.values.len() {
                return Err(Malformed);
            }
            last = at;
        }
        Ok(b)
    }
}

fn leb(b: &mut &[u8]) -> Result<u64> {
    let mut v = 0;
    for (i, &c) in b.iter().enumerate().take(10) {
        if i == 9 && c > 1 {
            break;
        }
        v |= u64::from(c & 127) << (7 * i);
        if c < 128 {
            *b = &b[i + 1..];
            return Ok(v);
        }
    }
    Err(Malformed)
}

fn number(mut v: &[u8]) -> Result<u64> {
    let n = leb(&mut v)?;
    if v.is_empty() {
        Ok(n)
    } else {
        Err(Malformed)
    }
}

/// Calls f for each element.
fn elements<'a>(mut b: &'a [u8], mut f: impl FnMut(u64, &'a [u8]) -> Result<()>) -> Result<()> {
    while !b.is_empty() {
        let tag = leb(&mut b)?;
        let len = leb(&mut b)?;
        if len > b.len() as u64 {
            return Err(Malformed);
        }
        let (v, rest) = b.split_at(len as usize);
        f(tag, v)?;
        b = rest;
    }
    Ok(())
}

impl<'a> Attr<'a> {
    fn read(b: &'a [u8]) -> Result<Self> {
        let mut x = Attr::default();
        elements(b, |tag, v| {
            match tag {
                1 => x.key = Text(v),
                2 => x.value = Text(v),
                _ => {}
            }
            Ok(())
        })?;
        Ok(x)
    }
}

impl<'a> Object<'a> {
    fn read(b: &'a [u8]) -> Result<Self> {
        let a = Attr::read(b)?;
        Ok(Object { schema: a.key, name: a.value })
    }
}

impl<'a> Principal<'a> {
    fn read(b: &'a [u8]) -> Result<Self> {
        let mut x = Principal::default();
        elements(b, |tag, v| {
            match tag {
                1 => x.issuer = Text(v),
                2 => x.subject = Text(v),
                3 => x.name = Text(v),
                4 => x.groups.push(Text(v)),
                5 => x.expires = Some(number(v)? as i64),
                _ => {}
            }
            Ok(())
        })?;
        Ok(x)
    }
}

impl<'a> Session<'a> {
    fn read(b: &'a [u8]) -> Result<Self> {
        let mut x = Session::default();
        elements(b, |tag, v| {
            match tag {
                1 => x.id = Text(v),
                2 => x.gate = Text(v),
                3 => x.protocol = Text(v),
                4 => x.resource = Text(v),
                5 => x.policy = Text(v),
                6 => x.principal = Principal::read(v)?,
                7 => x.client = Text(v),
                8 => x.start = number(v)? as i64,
                9 => x.attrs.push(Attr::read(v)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(x)
    }
}

impl<'a> Statement<'a> {
    fn read(b: &'a [u8]) -> Result<Self> {
        let mut x = Statement {
            kind: Text(b""),
            parent: None,
            within: Text(b""),
            runs: false,
            writes: Vec::new(),
            reads: Vec::new(),
            columns: Vec::new(),
            functions: Vec::new(),
            settings: Vec::new(),
            names: Vec::new(),
            options: Vec::new(),
            scope: Scope::None,
            opaque: false,
            operators: Vec::new(),
            types: Vec::new(),
            predicates: Vec::new(),
        };
        elements(b, |tag, v| {
            match tag {
                1 => x.kind = Text(v),
                2 => x.parent = number(v)?.checked_sub(1).map(|i| i as usize),
                3 => x.within = Text(v),
                4 => x.runs = number(v)? != 0,
                5 => x.writes.push(Object::read(v)?),
                6 => x.reads.push(Object::read(v)?),
                7 => x.columns.push(Text(v)),
                8 => x.functions.push(Text(v)),
                9 => x.settings.push(Text(v)),
                10 => x.names.push(Text(v)),
                11 => x.options.push(Text(v)),
                12 => {
                    x.scope = match number(v)? {
                        1 => Scope::All,
                        2 => Scope::Restricted,
                        _ => Scope::None,
                    }
                }
                13 => x.opaque = number(v)? != 0,
                14 => x.operators.push(Text(v)),
                15 => x.types.push(Text(v)),
                16 => x.predicates.push(Text(v)),
                _ => {}
            }
            Ok(())
        })?;
        Ok(x)
    }
}

impl<'a> Cut<'a> {
    fn read(b: &'a [u8]) -> Result<Self> {
        let mut x = Cut::default();
        elements(b, |tag, v| {
            match tag {
                1 => x.param = number(v)?,
                2 => x.size = number(v)?,
                3 => x.digest = v,
                _ => {}
            }
            Ok(())
        })?;
        Ok(x)
    }
}

impl<'a> Request<'a> {
    pub fn read(b: &'a [u8]) -> Result<Self> {
        let mut x = Request::default();
        elements(b, |tag, v| {
            match tag {
                1 => x.operation = Text(v),
                2 => x.payload = v,
                3 => x.params.push(v.split_first().map(|(_, value)| value)),
                4 => x.statements.push(Statement::read(v)?),
                5 => x.labels.push(Attr::read(v)?),
                6 => x.attrs.push(Attr::read(v)?),
                7 => x.cut.push(Cut::read(v)?),
                8 => x.masked.push(Text(v)),
                _ => {}
            }
            Ok(())
        })?;
        Ok(x)
    }
}

impl<'a> Field<'a> {
    fn read(b: &'a [u8]) -> Result<Self> {
        let mut x = Field { name: Text(b""), kind: Text(b""), origins: Vec::new(), lineage: Lineage::Unknown };
        elements(b, |tag, v| {
            match tag {
                1 => x.name = Text(v),
                2 => x.kind = Text(v),
                3 => x.origins.push(Text(v)),
                4 => {
                    x.lineage = match number(v)? {
                        1 => Lineage::Exact,
                        2 => Lineage::Derived,
                        3 => Lineage::Filtered,
                        4 => Lineage::Clean,
                        _ => Lineage::Unknown,
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(x)
    }
}

impl<'a> Head<'a> {
    pub fn read(b: &'a [u8]) -> Result<Self> {
        let mut x = Head::default();
        elements(b, |tag, v| {
            match tag {
                1 => x.fields.push(Field::read(v)?),
                2 => x.attrs.push(Attr::read(v)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(x)
    }
}

impl<'a> Outcome<'a> {
    pub fn read(b: &'a [u8]) -> Result<Self> {
        let mut x = Outcome::default();
        elements(b, |tag, v| {
            match tag {
                1 => x.status = Text(v),
                2 => x.tag = Text(v),
                3 => x.code = Text(v),
                4 => x.rows = number(v)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(x)
    }
}

// Writing.

fn put_leb(b: &mut Vec<u8>, mut v: u64) {
    while v > 127 {
        b.push(v as u8 | 128);
        v >>= 7;
    }
    b.push(v as u8);
}

fn put_u32(b: &mut Vec<u8>, v: usize) {
    b.extend_from_slice(&(v as u32).to_le_bytes());
}

pub fn put_section(b: &mut Vec<u8>, tag: u32, encode: impl FnOnce(&mut Vec<u8>)) {
    put_u32(b, tag as usize);
    put_u32(b, 0);
    let at = b.len();
    encode(b);
    let len = b.len() - at;
    b[at - 4..at].copy_from_slice(&(len as u32).to_le_bytes());
    b.resize(at + ((len + 3) & !3), 0);
}

fn put_structure(b: &mut Vec<u8>, tag: u64, encode: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    encode(&mut inner);
    put_leb(b, tag);
    put_leb(b, inner.len() as u64);
    b.append(&mut inner);
}

fn put_text(b: &mut Vec<u8>, tag: u64, v: &str) {
    if !v.is_empty() {
        put_leb(b, tag);
        put_leb(b, v.len() as u64);
        b.extend_from_slice(v.as_bytes());
    }
}

/// Writes a number, zero too.
fn put_number(b: &mut Vec<u8>, tag: u64, v: u64) {
    put_structure(b, tag, |b| put_leb(b, v));
}

fn put_pair(b: &mut Vec<u8>, tag: u64, first: &str, second: &str) {
    put_structure(b, tag, |b| {
        put_text(b, 1, first);
        put_text(b, 2, second);
    });
}

fn put_labels(b: &mut Vec<u8>, tag: u64, labels: &[Label]) {
    for (key, value) in labels {
        put_pair(b, tag, key, value);
    }
}

pub fn put_problem(b: &mut Vec<u8>, problem: &String) {
    put_section(b, PROBLEM, |b| b.extend_from_slice(problem.as_bytes()));
}

pub fn put_detectors(b: &mut Vec<u8>, detectors: &[Detector]) {
    if !detectors.is_empty() {
        put_section(b, DETECTORS, |b| {
            for d in detectors {
                put_pair(b, 1, &d.name, &d.pattern);
            }
        });
    }
}

pub fn put_state(b: &mut Vec<u8>, state: &[u8]) {
    if !state.is_empty() {
        put_section(b, STATE as u32, |b| b.extend_from_slice(state));
    }
}

pub fn put_verdict(b: &mut Vec<u8>, v: &Verdict) {
    put_section(b, VERDICT, |b| {
        put_number(b, 1, v.action as u64);
        put_text(b, 2, &v.rule);
        put_text(b, 3, &v.reason);
        put_labels(b, 4, &v.labels);
    });
}

pub fn put_treatments(b: &mut Vec<u8>, ts: &[Treatment]) {
    put_section(b, TREATMENTS, |b| {
        for t in ts {
            put_structure(b, 1, |b| put_treatment(b, t));
        }
    });
}

fn put_treatment(b: &mut Vec<u8>, t: &Treatment) {
    put_number(b, 1, t.kind as u64);
    if t.keep != 0 {
        put_number(b, 2, t.keep.into());
    }
    put_text(b, 3, &t.rule);
    for d in &t.detect {
        put_structure(b, 4, |b| {
            put_text(b, 1, &d.name);
            put_number(b, 2, d.kind as u64);
            if d.keep != 0 {
                put_number(b, 3, d.keep.into());
            }
        });
    }
}

pub fn put_edits(b: &mut Vec<u8>, edits: &[Edit]) {
    if edits.is_empty() {
        return;
    }
    let mut texts = 0;
    put_section(b, EDITS, |b| {
        for e in edits {
            let at = if e.text.is_empty() { 0 } else { texts };
            for v in [e.row, e.field, e.from, e.to, e.kind as usize | usize::from(e.keep) << 8, at, e.text.len()] {
                put_u32(b, v);
            }
            texts += e.text.len();
        }
    });
    if texts > 0 {
        put_section(b, TEXTS, |b| {
            for e in edits {
                b.extend_from_slice(&e.text);
            }
        });
    }
}

pub fn put_note(b: &mut Vec<u8>, n: &Option<Note>) {
    if let Some(n) = n {
        put_section(b, NOTE, |b| {
            put_text(b, 1, &n.text);
            put_labels(b, 2, &n.labels);
        });
    }
}
