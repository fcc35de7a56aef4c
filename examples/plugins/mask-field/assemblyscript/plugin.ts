// Masks the fields that come from configured columns.

import { Config, Field, Head, Hook, Kind, Lineage, Plugin, register, Session, Treatment } from "../../../../sdk/assemblyscript/assembly";

export * from "../../../../sdk/assemblyscript/assembly/guest";

class MaskField extends Plugin {
  columns: string[] = [];
  keep: u8 = 0;

  configure(config: Config): string | null {
    this.columns = config.json.get("columns").strings();
    this.keep = <u8>config.json.get("keep").number(4);
    return null;
  }

  treat(f: Field): Treatment {
    if (f.lineage == Lineage.clean || f.lineage == Lineage.filtered) return new Treatment(Kind.pass);
    for (let i = 0; i < f.origins.length; i++) {
      for (let j = 0; j < this.columns.length; j++) {
        if (!f.origins[i].equals(this.columns[j])) continue;
        const rule = "mask-field/" + this.columns[j];
        return f.lineage == Lineage.exact ? new Treatment(Kind.keepLast, rule, this.keep) : new Treatment(Kind.redact, rule);
      }
    }
    if (f.lineage == Lineage.unknown && f.origins.length == 0) return new Treatment(Kind.redact, "mask-field/unknown");
    return new Treatment(Kind.pass);
  }

  head(session: Session, head: Head): Treatment[] {
    const treatments: Treatment[] = [];
    for (let i = 0; i < head.fields.length; i++) treatments.push(this.treat(head.fields[i]));
    return treatments;
  }
}

register(new MaskField(), Hook.configure | Hook.head | Hook.factsOnly);
