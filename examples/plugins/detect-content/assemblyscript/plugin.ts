// Redacts access keys: in text by looking at each value, in JSON by a detector
// that the gate runs.

import {
  Batch, Config, Detect, Detector, Edit, Field, Head, Hook, Kind, Plugin, register, Session, Text, Treatment,
} from "../../../../sdk/assemblyscript/assembly";

export * from "../../../../sdk/assemblyscript/assembly/guest";

const rule = "detect-content";
const rest = 8; // what follows a prefix at least

function inKey(c: u8): bool {
  const lower = c | 32;
  return (lower >= 97 && lower <= 122) || (c >= 48 && c <= 57) || c == 95;
}

class DetectContent extends Plugin {
  prefixes: string[] = [];

  configure(config: Config): string | null {
    this.prefixes = config.json.get("prefixes").strings();
    return null;
  }

  detectors(): Detector[] {
    return [new Detector("key", "(?:" + this.prefixes.join("|") + ")[A-Za-z0-9_]{8,}")];
  }

  treat(f: Field): Treatment {
    const t = f.type;
    if (t.equals("text") || t.equals("varchar") || t.equals("bpchar")) return new Treatment(Kind.inspect, rule);
    if (!t.equals("json") && !t.equals("jsonb")) return new Treatment(Kind.pass);
    const treatment = new Treatment(Kind.detect, rule);
    treatment.detect = [new Detect("key", Kind.redact), new Detect("email", Kind.redact)];
    return treatment;
  }

  head(session: Session, head: Head): Treatment[] {
    const treatments: Treatment[] = [];
    for (let i = 0; i < head.fields.length; i++) treatments.push(this.treat(head.fields[i]));
    return treatments;
  }

  // Returns where a key that begins at a byte ends, or that byte.
  key(v: Text, from: i32): i32 {
    for (let i = 0; i < this.prefixes.length; i++) {
      const prefix = this.prefixes[i];
      if (!v.startsWith(prefix, from)) continue;
      let to = from + prefix.length;
      while (to < v.length && inKey(v.get(to))) to++;
      if (to >= from + prefix.length + rest) return to;
    }
    return from;
  }

  rows(batch: Batch, edits: Edit[]): void {
    for (let i = 0; i < batch.rows; i++) {
      for (let j = 0; j < batch.fields; j++) {
        const v = batch.cell(i, j);
        if (!v) continue;
        for (let at = 0; at < v.length; ) {
          const to = this.key(v, at);
          if (to > at) edits.push(new Edit(i, j, at, to, Kind.redact));
          at = max(to, at + 1);
        }
      }
    }
  }
}

register(new DetectContent(), Hook.configure | Hook.head | Hook.rows);
