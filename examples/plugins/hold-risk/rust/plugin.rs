//! Counts points for what a request does, labels it with them, and holds what has
//! too many.

use gatehouse::*;

schema!("../schema.json");

struct HoldRisk {
    limit: u64,
}

fn points(st: &Statement) -> u64 {
    if st.opaque || st.scope == Scope::All {
        60
    } else if st.writes.is_empty() {
        0
    } else {
        20
    }
}

impl Plugin for HoldRisk {
    const HOOKS: u32 = REQUEST | FACTS_ONLY;

    fn configure(config: &Config) -> Result<Self, String> {
        Ok(HoldRisk { limit: config.json.get("limit").and_then(Json::number).unwrap_or(50) })
    }

    fn request(&self, _: &Session, r: &Request) -> Verdict {
        let sum: u64 = r.statements.iter().map(points).sum();
        let mut v = Verdict::allow();
        if sum >= self.limit {
            v = Verdict::hold("hold-risk/limit", format!("a risk of {}, where {} is held", sum, self.limit));
        }
        v.labels.push(("risk".into(), sum.to_string()));
        v
    }
}

plugin!(HoldRisk);
