// The conformance guest in AssemblyScript: ../../conformance says what one does.

import {
  Action, Attr, Batch, Config, Cut, Detect, Detector, Edit, Field, Head, Hook, Json, Kind, Label, Note, Obj, Outcome, Plugin, register, Request, Session,
  Statement, Text, Treatment, Verdict,
} from "../assembly";

export * from "../assembly/guest";

// Writing what it was given as JSON.

function quoted(s: string): string {
  const parts: string[] = [];
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c == 34 || c == 92) parts.push("\\" + s.charAt(i));
    else if (c < 32) parts.push("\\u00" + (c < 16 ? "0" : "") + c.toString(16));
    else parts.push(s.charAt(i));
  }
  return '"' + parts.join("") + '"';
}

function text(t: Text): string {
  return quoted(t.toString());
}

function list<T>(items: T[], write: (item: T) => string): string {
  const parts: string[] = [];
  for (let i = 0; i < items.length; i++) parts.push(write(items[i]));
  return "[" + parts.join(",") + "]";
}

function texts(items: Text[]): string {
  return list<Text>(items, text);
}

// Writes names and values, which alternate.
function object(members: string[]): string {
  const parts: string[] = [];
  for (let i = 0; i < members.length; i += 2) parts.push('"' + members[i] + '":' + members[i + 1]);
  return "{" + parts.join(",") + "}";
}

function attr(a: Attr): string {
  return object(["key", text(a.key), "value", text(a.value)]);
}

function obj(o: Obj): string {
  return object(["schema", text(o.schema), "name", text(o.name)]);
}

function session(s: Session): string {
  const p = s.principal;
  return object([
    "id", text(s.id),
    "gate", text(s.gate),
    "protocol", text(s.protocol),
    "resource", text(s.resource),
    "policy", text(s.policy),
    "principal", object([
      "issuer", text(p.issuer),
      "subject", text(p.subject),
      "name", text(p.name),
      "groups", texts(p.groups),
      "expires", p.expires.toString(),
    ]),
    "client", text(s.client),
    "start", s.start.toString(),
    "attrs", list<Attr>(s.attrs, attr),
  ]);
}

function statement(s: Statement): string {
  return object([
    "kind", text(s.kind),
    "parent", (s.parent + 1).toString(),
    "within", text(s.within),
    "runs", s.runs.toString(),
    "writes", list<Obj>(s.writes, obj),
    "reads", list<Obj>(s.reads, obj),
    "columns", texts(s.columns),
    "functions", texts(s.functions),
    "settings", texts(s.settings),
    "names", texts(s.names),
    "options", texts(s.options),
    "scope", (<i32>s.scope).toString(),
    "opaque", s.opaque.toString(),
    "operators", texts(s.operators),
    "types", texts(s.types),
    "predicates", texts(s.predicates),
  ]);
}

function value(t: Text | null): string {
  return t ? text(t) : "null";
}

function cut(c: Cut): string {
  return object(["param", c.param.toString(), "size", c.size.toString(), "digest", text(c.digest)]);
}

function request(r: Request): string {
  return object([
    "operation", text(r.operation),
    "payload", text(r.payload),
    "params", list<Text | null>(r.params, value),
    "statements", list<Statement>(r.statements, statement),
    "labels", list<Attr>(r.labels, attr),
    "attrs", list<Attr>(r.attrs, attr),
    "cut", list<Cut>(r.cut, cut),
    "masked", texts(r.masked),
  ]);
}

function field(f: Field): string {
  return object(["name", text(f.name), "type", text(f.type), "origins", texts(f.origins), "lineage", (<i32>f.lineage).toString()]);
}

function head(h: Head): string {
  return object(["fields", list<Field>(h.fields, field), "attrs", list<Attr>(h.attrs, attr)]);
}

// Writes a message of a session, its state and more.
function told(s: Session | null, state: Text, more: string[]): string {
  return object(["session", s ? session(s) : "{}", "state", text(state)].concat(more));
}

function batch(b: Batch): string[] {
  const rows: string[] = [];
  for (let i = 0; i < b.rows; i++) {
    const cells: string[] = [];
    for (let j = 0; j < b.fields; j++) cells.push(value(b.cell(i, j)));
    rows.push("[" + cells.join(",") + "]");
  }
  return [
    "head", head(b.head),
    "shape", object(["rows", b.rows.toString(), "fields", b.fields.toString()]),
    "values", "[" + rows.join(",") + "]",
  ];
}

// Reading the answer that it is to give.

function labels(o: Json): Label[] {
  const from = o.get("labels").items;
  const to: Label[] = [];
  for (let i = 0; i < from.length; i++) to.push(new Label(from[i].get("key").string(), from[i].get("value").string()));
  return to;
}

function kind(o: Json): Kind {
  return <Kind>(<i32>o.get("kind").number());
}

function keep(o: Json): u8 {
  return <u8>o.get("keep").number();
}

function verdict(answer: Json): Verdict {
  const o = answer.get("verdict");
  const v = Verdict.of(<Action>(<i32>o.get("action").number()), o.get("rule").string(), o.get("reason").string());
  v.labels = labels(o);
  return v;
}

function treatment(o: Json): Treatment {
  const t = new Treatment(kind(o), o.get("rule").string(), keep(o));
  const detect = o.get("detect").items;
  for (let i = 0; i < detect.length; i++) t.detect.push(new Detect(detect[i].get("name").string(), kind(detect[i]), keep(detect[i])));
  return t;
}

function edit(o: Json): Edit {
  const e = new Edit(
    <i32>o.get("row").number(), <i32>o.get("field").number(), <i32>o.get("from").number(), <i32>o.get("to").number(), kind(o), keep(o),
  );
  e.text = String.UTF8.encode(o.get("text").string());
  return e;
}

function note(answer: Json): Note | null {
  if (!answer.keys.includes("note")) return null;
  const o = answer.get("note");
  const n = new Note(o.get("text").string());
  n.labels = labels(o);
  return n;
}

function deeper(n: u64): u64 {
  return n ? deeper(n + 1) + n : 0;
}

class Guest extends Plugin {
  answer: Json | null = null; // null: tell what was given
  how: string = ""; // to fail, empty where it does not

  fail(): void {
    let turns: u64 = 1;
    if (this.how == "trap") throw new Error("as it was told");
    if (this.how == "outside") turns = [1, 2][this.how.length];
    if (this.how == "memory") {
      const all: ArrayBuffer[] = [];
      for (;;) all.push(new ArrayBuffer(1 << 20));
    }
    if (this.how == "recursion") turns = deeper(1);
    if (this.how == "loop") while (turns) turns += 2;
  }

  configure(config: Config): string | null {
    this.how = config.json.get("fail").string();
    if (this.how.length) return null;
    if (config.json.keys.includes("answer")) {
      const answer = config.json.get("answer");
      this.answer = answer;
      const problem = answer.get("problem").string();
      return problem.length ? problem : null;
    }
    if (config.text.equals("{}")) return null;
    return object(["config", text(config.text), "host", object(["version", config.version.toString()])]);
  }

  detectors(): Detector[] {
    const to: Detector[] = [];
    const answer = this.answer;
    if (answer) {
      const from = answer.get("detectors").get("detectors").items;
      for (let i = 0; i < from.length; i++) to.push(new Detector(from[i].get("name").string(), from[i].get("pattern").string()));
    }
    return to;
  }

  open(s: Session): ArrayBuffer | null {
    this.fail();
    const answer = this.answer;
    return String.UTF8.encode(answer ? answer.get("state").string() : told(s, s.state, []));
  }

  request(s: Session, r: Request): Verdict {
    this.fail();
    const answer = this.answer;
    return answer ? verdict(answer) : Verdict.of(Action.allow, "", told(s, s.state, ["request", request(r)]));
  }

  head(s: Session, h: Head): Treatment[] {
    this.fail();
    const ts: Treatment[] = [];
    const answer = this.answer;
    if (answer) {
      const from = answer.get("treatments").get("treatments").items;
      for (let i = 0; i < from.length; i++) ts.push(treatment(from[i]));
      return ts;
    }
    for (let i = 0; i < h.fields.length; i++) ts.push(new Treatment(Kind.pass));
    ts[0].rule = told(s, s.state, ["head", head(h)]);
    return ts;
  }

  rows(b: Batch, edits: Edit[]): void {
    this.fail();
    const answer = this.answer;
    if (answer) {
      const from = answer.get("edits").items;
      for (let i = 0; i < from.length; i++) edits.push(edit(from[i]));
      return;
    }
    const e = new Edit(0, 0, 0, 0, Kind.replace);
    e.text = String.UTF8.encode(told(null, b.state, batch(b)));
    edits.push(e);
  }

  upload(s: Session, b: Batch): Verdict {
    this.fail();
    const answer = this.answer;
    return answer ? verdict(answer) : Verdict.of(Action.allow, "", told(s, s.state, batch(b)));
  }

  end(s: Session, o: Outcome): Note | null {
    this.fail();
    const answer = this.answer;
    if (answer) return note(answer);
    const outcome = object(["status", text(o.status), "tag", text(o.tag), "code", text(o.code), "rows", o.rows.toString()]);
    return new Note(told(s, s.state, ["outcome", outcome]));
  }

  close(s: Session): Note | null {
    this.fail();
    const answer = this.answer;
    return answer ? note(answer) : new Note(told(s, s.state, []));
  }
}

register(new Guest(), Hook.configure | Hook.open | Hook.request | Hook.head | Hook.rows | Hook.upload | Hook.end | Hook.close);
