// Counts points for what a request does, labels it with them, and holds what has
// too many.

import { Config, Hook, Label, Plugin, register, Request, Scope, Session, Statement, Verdict } from "../../../../sdk/assemblyscript/assembly";

export * from "../../../../sdk/assemblyscript/assembly/guest";

function points(st: Statement): u64 {
  if (st.opaque || st.scope == Scope.all) return 60;
  return st.writes.length ? 20 : 0;
}

class HoldRisk extends Plugin {
  limit: u64 = 0;

  configure(config: Config): string | null {
    this.limit = config.json.get("limit").number(50);
    return null;
  }

  request(session: Session, request: Request): Verdict {
    let sum: u64 = 0;
    for (let i = 0; i < request.statements.length; i++) sum += points(request.statements[i]);
    const v =
      sum < this.limit ? Verdict.allow() : Verdict.hold("hold-risk/limit", `a risk of ${sum}, where ${this.limit} is held`);
    v.labels.push(new Label("risk", sum.toString()));
    return v;
  }
}

register(new HoldRisk(), Hook.configure | Hook.request | Hook.factsOnly);
