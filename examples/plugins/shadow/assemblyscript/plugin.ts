// Lets members of a group only read, and notes large results: a rule to try with
// `shadow: true` before it is in force.

import { Batch, Config, Hook, Label, Note, Outcome, Plugin, register, Request, Session, Verdict } from "../../../../sdk/assemblyscript/assembly";

export * from "../../../../sdk/assemblyscript/assembly/guest";

const reader = "reader"; // the state of sessions of members

class Shadow extends Plugin {
  group: string = "";
  most: u64 = 0;

  configure(config: Config): string | null {
    this.group = config.json.get("group").string();
    this.most = config.json.get("rows").number(1000);
    return null;
  }

  block(): Verdict {
    return Verdict.block("shadow/write", `members of ${this.group} only read`);
  }

  open(session: Session): ArrayBuffer | null {
    const groups = session.principal.groups;
    for (let i = 0; i < groups.length; i++) {
      if (groups[i].equals(this.group)) return String.UTF8.encode(reader);
    }
    return null;
  }

  request(session: Session, request: Request): Verdict {
    if (!session.state.equals(reader)) return Verdict.allow();
    for (let i = 0; i < request.statements.length; i++) {
      const st = request.statements[i];
      if (st.opaque || st.writes.length) return this.block();
    }
    return Verdict.allow();
  }

  upload(session: Session, batch: Batch): Verdict {
    return session.state.equals(reader) ? this.block() : Verdict.allow();
  }

  end(session: Session, outcome: Outcome): Note | null {
    if (outcome.rows <= this.most) return null;
    const note = new Note(`${outcome.rows} rows`);
    note.labels.push(new Label("large", "true"));
    return note;
  }

  close(session: Session): Note | null {
    return session.state.equals(reader) ? new Note("a reader's session") : null;
  }
}

register(new Shadow(), Hook.configure | Hook.open | Hook.request | Hook.upload | Hook.end | Hook.close);
