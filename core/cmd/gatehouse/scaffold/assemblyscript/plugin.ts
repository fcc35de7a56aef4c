// Redacts a column and blocks a kind of statement.

import { Config, Head, Hook, Kind, Plugin, register, Request, Session, Treatment, Verdict } from "./gatehouse/assembly";

export * from "./gatehouse/assembly/guest";

class Settings extends Plugin {
  // The configuration, which schema.json describes.
  column: string = "";
  kind: string = "";

  configure(config: Config): string | null {
    this.column = config.json.get("column").string();
    this.kind = config.json.get("kind").string();
    return null;
  }

  request(session: Session, request: Request): Verdict {
    for (let i = 0; i < request.statements.length; i++) {
      if (request.statements[i].kind.equals(this.kind)) return Verdict.block("<<.Name>>/kind", `${this.kind} is not for agents`);
    }
    return Verdict.allow();
  }

  head(session: Session, head: Head): Treatment[] {
    const treatments: Treatment[] = [];
    for (let i = 0; i < head.fields.length; i++) {
      const treatment = new Treatment(Kind.pass);
      for (let j = 0; j < head.fields[i].origins.length; j++) {
        if (!head.fields[i].origins[j].equals(this.column)) continue;
        treatment.kind = Kind.redact;
        treatment.rule = "<<.Name>>/column";
      }
      treatments.push(treatment);
    }
    return treatments;
  }
}

// The answers depend on facts alone, so that the gate may remember them.
register(new Settings(), Hook.configure | Hook.request | Hook.head | Hook.factsOnly);
