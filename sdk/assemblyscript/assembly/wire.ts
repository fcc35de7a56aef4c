// Reading inputs and writing answers, as ../../ABI.md specifies them.

import {
  Attr, Batch, Config, Cut, Detector, Edit, Field, Head, Label, Note, Obj, Outcome, Principal, Request, Session, Statement, Treatment, Verdict,
} from "./index";
import { Json } from "./json";
import { Text } from "./text";

namespace Section {
  export const session: u32 = 1;
  export const state: u32 = 2;
  export const request: u32 = 3;
  export const head: u32 = 4;
  export const outcome: u32 = 5;
  export const config: u32 = 6;
  export const host: u32 = 7;
  export const shape: u32 = 8;
  export const offsets: u32 = 9;
  export const nulls: u32 = 10;
  export const values: u32 = 11;
  export const inputs: u32 = 12;

  export const problem: u32 = 32;
  export const detectors: u32 = 33;
  export const verdict: u32 = 34;
  export const treatments: u32 = 35;
  export const edits: u32 = 36;
  export const texts: u32 = 37;
  export const note: u32 = 38;
}

// Reading. What is malformed sets bad, and the call fails.

export let bad: bool = false;

const sections = new StaticArray<Text>(Section.inputs);

// Takes the sections of a message of n bytes.
export function readMessage(at: usize, n: usize): void {
  bad = false;
  for (let i: u32 = 0; i < Section.inputs; i++) sections[i] = Text.empty;
  const end = at + n;
  while (at < end) {
    if (end - at < 8) {
      bad = true;
      return;
    }
    const tag = load<u32>(at);
    const len = load<u32>(at, 4);
    at += 8;
    if (<usize>len > end - at) {
      bad = true;
      return;
    }
    if (tag < Section.inputs) sections[tag] = new Text(at, len);
    at += (len + 3) & ~3;
  }
}

// A Reader reads the elements of a structure.
@final
class Reader {
  tag: u64 = 0;
  at: usize = 0; // of the element
  length: i32 = 0;

  private next: usize;
  private end: usize;

  constructor(b: Text) {
    this.next = b.at;
    this.end = b.at + b.length;
  }

  read(): bool {
    if (bad || this.next >= this.end) return false;
    this.tag = this.leb();
    const length = this.leb();
    if (bad || length > this.end - this.next) {
      bad = true;
      return false;
    }
    this.at = this.next;
    this.length = <i32>length;
    this.next += this.length;
    return true;
  }

  leb(): u64 {
    let v: u64 = 0;
    for (let shift = 0; this.next < this.end; shift += 7) {
      const c = load<u8>(this.next++);
      if (shift == 63 && c > 1) break;
      v |= (<u64>(c & 127)) << shift;
      if (c < 128) return v;
    }
    bad = true;
    return 0;
  }

  text(): Text {
    return new Text(this.at, this.length);
  }

  number(): u64 {
    const r = new Reader(this.text());
    const n = r.leb();
    if (r.next != r.end) bad = true;
    return n;
  }

  // What is not known is 0.
  enumeration(most: i32): i32 {
    const n = this.number();
    return n > <u64>most ? 0 : <i32>n;
  }
}

function readAttr(b: Text): Attr {
  const x = new Attr();
  for (const r = new Reader(b); r.read(); ) {
    switch (<i32>min<u64>(r.tag, 99)) {
      case 1: x.key = r.text(); break;
      case 2: x.value = r.text(); break;
    }
  }
  return x;
}

function readObject(b: Text): Obj {
  const a = readAttr(b);
  const x = new Obj();
  x.schema = a.key;
  x.name = a.value;
  return x;
}

function readPrincipal(b: Text): Principal {
  const x = new Principal();
  for (const r = new Reader(b); r.read(); ) {
    switch (<i32>min<u64>(r.tag, 99)) {
      case 1: x.issuer = r.text(); break;
      case 2: x.subject = r.text(); break;
      case 3: x.name = r.text(); break;
      case 4: x.groups.push(r.text()); break;
      case 5: x.expires = r.number(); break;
    }
  }
  return x;
}

export function readSession(): Session {
  const x = new Session();
  for (const r = new Reader(sections[Section.session]); r.read(); ) {
    switch (<i32>min<u64>(r.tag, 99)) {
      case 1: x.id = r.text(); break;
      case 2: x.gate = r.text(); break;
      case 3: x.protocol = r.text(); break;
      case 4: x.resource = r.text(); break;
      case 5: x.policy = r.text(); break;
      case 6: x.principal = readPrincipal(r.text()); break;
      case 7: x.client = r.text(); break;
      case 8: x.start = r.number(); break;
      case 9: x.attrs.push(readAttr(r.text())); break;
    }
  }
  x.state = sections[Section.state];
  return x;
}

function readStatement(b: Text): Statement {
  const x = new Statement();
  for (const r = new Reader(b); r.read(); ) {
    switch (<i32>min<u64>(r.tag, 99)) {
      case 1: x.kind = r.text(); break;
      case 2: x.parent = <i64>r.number() - 1; break;
      case 3: x.within = r.text(); break;
      case 4: x.runs = r.number() != 0; break;
      case 5: x.writes.push(readObject(r.text())); break;
      case 6: x.reads.push(readObject(r.text())); break;
      case 7: x.columns.push(r.text()); break;
      case 8: x.functions.push(r.text()); break;
      case 9: x.settings.push(r.text()); break;
      case 10: x.names.push(r.text()); break;
      case 11: x.options.push(r.text()); break;
      case 12: x.scope = r.enumeration(2); break;
      case 13: x.opaque = r.number() != 0; break;
      case 14: x.operators.push(r.text()); break;
      case 15: x.types.push(r.text()); break;
      case 16: x.predicates.push(r.text()); break;
    }
  }
  return x;
}

function readCut(b: Text): Cut {
  const x = new Cut();
  for (const r = new Reader(b); r.read(); ) {
    switch (<i32>min<u64>(r.tag, 99)) {
      case 1: x.param = r.number(); break;
      case 2: x.size = r.number(); break;
      case 3: x.digest = r.text(); break;
    }
  }
  return x;
}

export function readRequest(): Request {
  const x = new Request();
  for (const r = new Reader(sections[Section.request]); r.read(); ) {
    switch (<i32>min<u64>(r.tag, 99)) {
      case 1: x.operation = r.text(); break;
      case 2: x.payload = r.text(); break;
      case 3: x.params.push(r.length ? new Text(r.at + 1, r.length - 1) : null); break;
      case 4: x.statements.push(readStatement(r.text())); break;
      case 5: x.labels.push(readAttr(r.text())); break;
      case 6: x.attrs.push(readAttr(r.text())); break;
      case 7: x.cut.push(readCut(r.text())); break;
      case 8: x.masked.push(r.text()); break;
    }
  }
  return x;
}

function readField(b: Text): Field {
  const x = new Field();
  for (const r = new Reader(b); r.read(); ) {
    switch (<i32>min<u64>(r.tag, 99)) {
      case 1: x.name = r.text(); break;
      case 2: x.type = r.text(); break;
      case 3: x.origins.push(r.text()); break;
      case 4: x.lineage = r.enumeration(4); break;
    }
  }
  return x;
}

export function readHead(): Head {
  const x = new Head();
  for (const r = new Reader(sections[Section.head]); r.read(); ) {
    switch (<i32>min<u64>(r.tag, 99)) {
      case 1: x.fields.push(readField(r.text())); break;
      case 2: x.attrs.push(readAttr(r.text())); break;
    }
  }
  return x;
}

export function readOutcome(): Outcome {
  const x = new Outcome();
  for (const r = new Reader(sections[Section.outcome]); r.read(); ) {
    switch (<i32>min<u64>(r.tag, 99)) {
      case 1: x.status = r.text(); break;
      case 2: x.tag = r.text(); break;
      case 3: x.code = r.text(); break;
      case 4: x.rows = r.number(); break;
    }
  }
  return x;
}

export function readConfig(): Config {
  let version: u32 = 0;
  for (const r = new Reader(sections[Section.host]); r.read(); ) {
    if (r.tag == 1) version = <u32>r.number();
  }
  const text = sections[Section.config];
  const json = Json.parse(text.toString());
  return new Config(json ? json : new Json(), text, version);
}

export function readBatch(): Batch {
  const x = new Batch();
  x.head = readHead();
  x.state = sections[Section.state];
  const shape = sections[Section.shape];
  const offsets = sections[Section.offsets];
  const nulls = sections[Section.nulls];
  const values = sections[Section.values];
  if (shape.length != 8) {
    bad = true;
    return x;
  }
  const rows = load<u32>(shape.at);
  const fields = load<u32>(shape.at, 4);
  const cells = <u64>rows * <u64>fields;
  if (offsets.length & 3 || nulls.length & 3 || <u64>(offsets.length >> 2) != cells + 1 || <u64>(nulls.length >> 2) != (cells + 31) >> 5) {
    bad = true;
    return x;
  }
  let last: u32 = 0;
  for (let k: u32 = 0; k <= <u32>cells; k++) {
    const at = load<u32>(offsets.at + (k << 2));
    if (at < last) bad = true;
    last = at;
  }
  if (last > <u32>values.length) bad = true;
  x.rows = rows;
  x.fields = fields;
  x.offsets = offsets.at;
  x.nulls = nulls.at;
  x.values = values.at;
  return x;
}

// Writing. The answer is in memory of its own, which is kept.

let out: usize = 0;
let capacity: usize = 0;
let length: usize = 0;

export function beginAnswer(): void {
  length = 0;
}

// The answer that was written, as the host gets it.
export function answer(): i64 {
  return bad ? -1 : <i64>((<u64>out << 32) | <u64>length);
}

// Makes room for n more bytes and returns where they are.
function grow(n: usize): usize {
  const at = length;
  length += n;
  if (length > capacity) {
    capacity = max<usize>(2 * length, 4096);
    out = out ? heap.realloc(out, capacity) : heap.alloc(capacity);
  }
  return out + at;
}

function putU32(v: u32): void {
  store<u32>(grow(4), v);
}

function putBytes(b: ArrayBuffer): void {
  memory.copy(grow(b.byteLength), changetype<usize>(b), b.byteLength);
}

function putString(s: string): void {
  const n = String.UTF8.byteLength(s);
  String.UTF8.encodeUnsafe(changetype<usize>(s), s.length, grow(n));
}

// Writes the header of a section, whose contents follow, up to endSection.
function section(tag: u32): usize {
  putU32(tag);
  putU32(0);
  return length;
}

function endSection(at: usize): void {
  const n = length - at;
  store<u32>(out + at - 4, <u32>n);
  const pad: usize = (4 - (n & 3)) & 3;
  memory.fill(grow(pad), 0, pad);
}

function sizeLeb(v: u64): usize {
  let n: usize = 1;
  for (; v > 127; v >>= 7) n++;
  return n;
}

function storeLeb(at: usize, v: u64): void {
  for (; v > 127; v >>= 7) store<u8>(at++, <u8>v | 128);
  store<u8>(at, <u8>v);
}

function putLeb(v: u64): void {
  storeLeb(grow(sizeLeb(v)), v);
}

// Writes the tag of an element, whose contents follow, up to endStructure.
function structure(tag: u64): usize {
  putLeb(tag);
  return length;
}

function endStructure(at: usize): void {
  const n = length - at;
  const size = sizeLeb(n);
  grow(size);
  memory.copy(out + at + size, out + at, n);
  storeLeb(out + at, n);
}

function putText(tag: u64, s: string): void {
  if (s.length == 0) return;
  putLeb(tag);
  putLeb(String.UTF8.byteLength(s));
  putString(s);
}

// Writes a number, zero too.
function putNumber(tag: u64, v: u64): void {
  const at = structure(tag);
  putLeb(v);
  endStructure(at);
}

function putPair(tag: u64, first: string, second: string): void {
  const at = structure(tag);
  putText(1, first);
  putText(2, second);
  endStructure(at);
}

function putLabels(tag: u64, labels: Label[]): void {
  for (let i = 0; i < labels.length; i++) putPair(tag, labels[i].key, labels[i].value);
}

export function putProblem(problem: string): void {
  const at = section(Section.problem);
  putString(problem);
  endSection(at);
}

export function putDetectors(detectors: Detector[]): void {
  if (detectors.length == 0) return;
  const at = section(Section.detectors);
  for (let i = 0; i < detectors.length; i++) putPair(1, detectors[i].name, detectors[i].pattern);
  endSection(at);
}

export function putState(state: ArrayBuffer | null): void {
  if (state === null || state.byteLength == 0) return;
  const at = section(Section.state);
  putBytes(state);
  endSection(at);
}

export function putVerdict(v: Verdict): void {
  const at = section(Section.verdict);
  putNumber(1, v.action);
  putText(2, v.rule);
  putText(3, v.reason);
  putLabels(4, v.labels);
  endSection(at);
}

export function putTreatments(ts: Treatment[]): void {
  const at = section(Section.treatments);
  for (let i = 0; i < ts.length; i++) putTreatment(ts[i]);
  endSection(at);
}

function putTreatment(t: Treatment): void {
  const at = structure(1);
  putNumber(1, t.kind);
  if (t.keep) putNumber(2, t.keep);
  putText(3, t.rule);
  for (let i = 0; i < t.detect.length; i++) {
    const d = t.detect[i];
    const inner = structure(4);
    putText(1, d.name);
    putNumber(2, d.kind);
    if (d.keep) putNumber(3, d.keep);
    endStructure(inner);
  }
  endStructure(at);
}

export function putEdits(edits: Edit[]): void {
  if (edits.length == 0) return;
  let at = section(Section.edits);
  let texts: u32 = 0;
  for (let i = 0; i < edits.length; i++) {
    const e = edits[i];
    const text = e.text;
    const size = text ? text.byteLength : 0;
    putU32(e.row);
    putU32(e.field);
    putU32(e.from);
    putU32(e.to);
    putU32(<u32>e.kind | (<u32>e.keep << 8));
    putU32(size ? texts : 0);
    putU32(size);
    texts += size;
  }
  endSection(at);
  if (texts == 0) return;
  at = section(Section.texts);
  for (let i = 0; i < edits.length; i++) {
    const text = edits[i].text;
    if (text) putBytes(text);
  }
  endSection(at);
}

export function putNote(n: Note | null): void {
  if (n === null) return;
  const at = section(Section.note);
  putText(1, n.text);
  putLabels(2, n.labels);
  endSection(at);
}
