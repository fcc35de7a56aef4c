//! Lets members of a group only read, and notes large results: a rule to try with
//! `shadow: true` before it is in force.

use gatehouse::*;

schema!("../schema.json");

struct Shadow {
    group: String,
    rows: u64,
}

/// The state of sessions of members.
const READER: &[u8] = b"reader";

impl Shadow {
    fn block(&self) -> Verdict {
        Verdict::block("shadow/write", format!("members of {} only read", self.group))
    }
}

impl Plugin for Shadow {
    const HOOKS: u32 = OPEN | REQUEST | UPLOAD | END | CLOSE;

    fn configure(config: &Config) -> Result<Self, String> {
        Ok(Shadow {
            group: config.json.get("group").and_then(Json::str).unwrap_or("").into(),
            rows: config.json.get("rows").and_then(Json::number).unwrap_or(1000),
        })
    }

    fn open(&self, s: &Session) -> Vec<u8> {
        if s.principal.groups.iter().any(|g| *g == self.group) {
            READER.into()
        } else {
            Vec::new()
        }
    }

    fn request(&self, s: &Session, r: &Request) -> Verdict {
        if s.state == READER && r.statements.iter().any(|st| st.opaque || !st.writes.is_empty()) {
            return self.block();
        }
        Verdict::allow()
    }

    fn upload(&self, s: &Session, _: &Batch) -> Verdict {
        if s.state == READER {
            return self.block();
        }
        Verdict::allow()
    }

    fn end(&self, _: &Session, o: &Outcome) -> Option<Note> {
        let labels = vec![("large".into(), "true".into())];
        (o.rows > self.rows).then(|| Note { text: format!("{} rows", o.rows), labels })
    }

    fn close(&self, s: &Session) -> Option<Note> {
        (s.state == READER).then(|| Note { text: "a reader's session".into(), ..Note::default() })
    }
}

plugin!(Shadow);
