//! Blocks statements of configured kinds, and what cannot be read.

use gatehouse::*;

schema!("../schema.json");

struct BlockFact {
    kinds: Vec<String>,
}

impl Plugin for BlockFact {
    const HOOKS: u32 = REQUEST | FACTS_ONLY;

    fn configure(config: &Config) -> Result<Self, String> {
        Ok(BlockFact { kinds: config.json.get("kinds").map_or(Vec::new(), Json::strings) })
    }

    fn request(&self, _: &Session, r: &Request) -> Verdict {
        for st in &r.statements {
            if st.opaque {
                return Verdict::block("block-fact/opaque", "what this does cannot be read");
            }
            if self.kinds.iter().any(|k| st.kind == *k) {
                return Verdict::block("block-fact/kind", format!("{} is not allowed here", st.kind));
            }
        }
        Verdict::allow()
    }
}

plugin!(BlockFact);
