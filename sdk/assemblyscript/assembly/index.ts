// Gatehouse's SDK for plugins in AssemblyScript. ../README.md begins with an
// example; ../../ABI.md specifies the interface that this implements and what
// every field means.
//
// A plugin is an object of a class that extends Plugin, registered once. It keeps
// no state between calls but what its configure made of its configuration. What a
// hook is given is valid until it returns.

import { Json } from "./json";
import { Text } from "./text";

export { Json } from "./json";
export { Text } from "./text";

// The hooks that a plugin may have, for register.

export namespace Hook {
  export const configure: i32 = 1 << 0;
  export const open: i32 = 1 << 1;
  export const request: i32 = 1 << 2;
  export const head: i32 = 1 << 3;
  export const rows: i32 = 1 << 4;
  export const upload: i32 = 1 << 5;
  export const end: i32 = 1 << 6;
  export const close: i32 = 1 << 7;
  // The gate remembers answers, and keeps from the plugin what differs from
  // request to request: payloads, parameters, a session's id.
  export const factsOnly: i32 = 1 << 16;
  // The gate does not load the plugin without the grant clock, which now needs to
  // tell more than some moment of 2022.
  export const clock: i32 = 1 << 17;
  // The gate does not load the plugin without the grant random, without which random
  // tells the same in every instance.
  export const random: i32 = 1 << 18;
}

// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "clock_time_get")
declare function clock_time_get(id: u32, precision: u64, time: usize): u32;

// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "random_get")
declare function random_get(to: usize, n: usize): u32;

const number = memory.data(8, 8);

// Returns the time, in nanoseconds since 1970: see Hook.clock.
export function now(): i64 {
  if (clock_time_get(0, 1, number)) throw new Error("there is no clock");
  return load<i64>(number);
}

// Returns a random number: see Hook.random.
export function random(): u64 {
  if (random_get(number, 8)) throw new Error("there is no randomness");
  return load<u64>(number);
}

// A plugin. Its hooks are called only where it was registered with them.
export class Plugin {
  // Takes the configuration; what it returns is a problem that refuses it, or null.
  configure(config: Config): string | null {
    return null;
  }

  // Detectors of the plugin's own, for Treatment.detect. Goes with configure.
  detectors(): Detector[] {
    return [];
  }

  // Returns the session's state, at most 4 KiB, or null.
  open(session: Session): ArrayBuffer | null {
    return null;
  }

  request(session: Session, request: Request): Verdict {
    return new Verdict();
  }

  // Returns one treatment for each field.
  head(session: Session, head: Head): Treatment[] {
    return [];
  }

  // Adds edits of fields for which head said inspect, in the order of rows, fields
  // and bytes. They do not overlap.
  rows(batch: Batch, edits: Edit[]): void {}

  upload(session: Session, batch: Batch): Verdict {
    return new Verdict();
  }

  end(session: Session, outcome: Outcome): Note | null {
    return null;
  }

  close(session: Session): Note | null {
    return null;
  }
}

export let registered: Plugin = new Plugin();
export let registeredHooks: i32 = 0;

// Makes a plugin that of this module.
export function register(plugin: Plugin, hooks: i32): void {
  registered = plugin;
  registeredHooks = hooks;
}

// What the host says.

export class Config {
  constructor(
    public json: Json, // null, as JSON has it, where it is no JSON
    public text: Text,
    public version: u32, // the host's version of the interface, major << 16 | minor
  ) {}
}

export class Attr {
  key: Text = Text.empty;
  value: Text = Text.empty;
}

export class Principal {
  issuer: Text = Text.empty;
  subject: Text = Text.empty;
  name: Text = Text.empty;
  groups: Text[] = [];
  expires: i64 = 0; // nanoseconds since 1970, or 0
}

export class Session {
  id: Text = Text.empty;
  gate: Text = Text.empty;
  protocol: Text = Text.empty;
  resource: Text = Text.empty;
  policy: Text = Text.empty;
  principal: Principal = new Principal();
  client: Text = Text.empty;
  start: i64 = 0; // nanoseconds since 1970
  attrs: Attr[] = [];
  state: Text = Text.empty; // what the plugin's open returned
}

export class Obj {
  schema: Text = Text.empty;
  name: Text = Text.empty;
}

export enum Scope {
  none,
  all,
  restricted,
}

export class Statement {
  kind: Text = Text.empty;
  parent: i64 = -1; // the index of the statement that contains this one
  within: Text = Text.empty;
  runs: bool = false;
  writes: Obj[] = [];
  reads: Obj[] = [];
  columns: Text[] = [];
  functions: Text[] = [];
  settings: Text[] = [];
  names: Text[] = [];
  options: Text[] = [];
  scope: Scope = Scope.none;
  opaque: bool = false;
  operators: Text[] = [];
  types: Text[] = [];
  predicates: Text[] = [];
}

export class Cut {
  param: u64 = 0;
  size: u64 = 0;
  digest: Text = Text.empty;
}

export class Request {
  operation: Text = Text.empty;
  payload: Text = Text.empty;
  params: Array<Text | null> = []; // null is NULL
  statements: Statement[] = [];
  labels: Attr[] = [];
  attrs: Attr[] = [];
  cut: Cut[] = [];
  masked: Text[] = [];
}

export enum Lineage {
  unknown,
  exact,
  derived,
  filtered,
  clean,
}

export class Field {
  name: Text = Text.empty;
  type: Text = Text.empty;
  origins: Text[] = [];
  lineage: Lineage = Lineage.unknown;
}

export class Head {
  fields: Field[] = [];
  attrs: Attr[] = [];
}

export class Outcome {
  status: Text = Text.empty;
  tag: Text = Text.empty;
  code: Text = Text.empty;
  rows: u64 = 0;
}

// A batch of values.
export class Batch {
  head: Head = new Head(); // describes the fields
  state: Text = Text.empty;
  rows: i32 = 0;
  fields: i32 = 0;
  offsets: usize = 0;
  nulls: usize = 0;
  values: usize = 0;

  // Returns a value; null is NULL.
  cell(row: i32, field: i32): Text | null {
    if (<u32>row >= <u32>this.rows || <u32>field >= <u32>this.fields) throw new RangeError("no such cell");
    const k: u32 = row * this.fields + field;
    if ((load<u32>(this.nulls + ((k >> 5) << 2)) >> (k & 31)) & 1) return null;
    const at = this.offsets + (k << 2);
    const from = load<u32>(at);
    return new Text(this.values + from, load<u32>(at, 4) - from);
  }
}

// What a plugin answers.

export class Label {
  constructor(
    public key: string,
    public value: string,
  ) {}
}

export enum Action {
  block,
  hold,
  allow,
}

// A new verdict blocks.
export class Verdict {
  action: Action = Action.block;
  rule: string = "";
  reason: string = "";
  labels: Label[] = [];

  static allow(): Verdict {
    return Verdict.of(Action.allow, "", "");
  }

  static hold(rule: string, reason: string): Verdict {
    return Verdict.of(Action.hold, rule, reason);
  }

  static block(rule: string, reason: string): Verdict {
    return Verdict.of(Action.block, rule, reason);
  }

  static of(action: Action, rule: string, reason: string): Verdict {
    const v = new Verdict();
    v.action = action;
    v.rule = rule;
    v.reason = reason;
    return v;
  }
}

export enum Kind {
  null,
  redact,
  hash,
  keepLast,
  replace,
  inspect,
  pass,
  fake,
  detect,
}

// What is done to what a detector finds.
export class Detect {
  constructor(
    public name: string,
    public kind: Kind,
    public keep: u8 = 0,
  ) {}
}

// A new treatment makes a field NULL.
export class Treatment {
  detect: Detect[] = []; // for Kind.detect

  constructor(
    public kind: Kind = Kind.null,
    public rule: string = "",
    public keep: u8 = 0, // for Kind.keepLast
  ) {}
}

export class Edit {
  text: ArrayBuffer | null = null; // for Kind.replace

  constructor(
    public row: i32,
    public field: i32,
    public from: i32, // bytes of the value
    public to: i32, // exclusive
    public kind: Kind,
    public keep: u8 = 0,
  ) {}
}

export class Detector {
  constructor(
    public name: string,
    public pattern: string,
  ) {}
}

export class Note {
  labels: Label[] = [];

  constructor(public text: string) {}
}
