// Blocks statements of configured kinds, and what cannot be read.

import { Config, Hook, Plugin, register, Request, Session, Verdict } from "../../../../sdk/assemblyscript/assembly";

export * from "../../../../sdk/assemblyscript/assembly/guest";

class BlockFact extends Plugin {
  kinds: string[] = [];

  configure(config: Config): string | null {
    this.kinds = config.json.get("kinds").strings();
    return null;
  }

  request(session: Session, request: Request): Verdict {
    for (let i = 0; i < request.statements.length; i++) {
      const st = request.statements[i];
      if (st.opaque) return Verdict.block("block-fact/opaque", "what this does cannot be read");
      for (let j = 0; j < this.kinds.length; j++) {
        if (st.kind.equals(this.kinds[j])) return Verdict.block("block-fact/kind", this.kinds[j] + " is not allowed here");
      }
    }
    return Verdict.allow();
  }
}

register(new BlockFact(), Hook.configure | Hook.request | Hook.factsOnly);
